"""A redirector that is stopped whatever happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.redirector.world import Edge, file_of, mirror

DEB = b"!<arch>\n" + os.urandom(300_000)
BIG = os.urandom(1 << 20) * 8


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    made = Edge(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def serving(edge: Edge) -> Edge:
    """A redirector whose map sends `a.deb` to two mirrors and knows nothing of the rest."""
    edge.put("demo/pool/a.deb", DEB)
    edge.put("demo/pool/own.deb", DEB)
    edge.put("demo/dists/stable/InRelease", b"now")
    edge.write_map(
        [mirror("one"), mirror("two", country="FR"), mirror("down", problem="down: gone")],
        {
            "demo/pool/a.deb": file_of(DEB, 0, 1, 2),
            "demo/dists/stable/InRelease": file_of(b"now", 0, 1, changes=True),
            "demo/pool/b~1+x y%.deb": file_of(b"b", 0),
        },
    )
    return edge.start()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A real HTTP server on loopback: its folder and port."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, server.server_port
        server.shutdown()
        thread.join()
