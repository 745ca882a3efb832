"""Real web servers on loopback that serve a folder, well or badly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Web:
    """A server under way: its folder, its address, what it was asked, how it misbehaves."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    behaviour: str = ""
    hold: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, web: Web, *arguments: object) -> None:
        self.web = web
        super().__init__(*arguments, directory=str(web.folder))  # type: ignore[arg-type]

    def version_string(self) -> str:
        return "Commonfarm-redirector" if self.web.behaviour == "redirector" else "test"

    def do_HEAD(self) -> None:
        self.web.asked.append(self.path)
        match self.web.behaviour:
            case "page":
                # The third file's answer comes first: what is reported must not depend on that.
                time.sleep(0 if self.path == "/pool/2.deb" else 0.02)
                self._answer(200, {"Content-Type": "text/html", "Content-Length": "3"})
            case "no size":
                self._answer(200, {"Connection": "close"})
            case "redirect":
                self._answer(302, {"Location": "http://127.0.0.1:1/x", "Content-Length": "0"})
            case "broken":
                self._answer(500, {"Content-Length": "0"})
            case "hold":
                self.web.hold.wait(20)
                super().do_HEAD()
            case "rubbish":
                self.wfile.write(b"\x00\x01rubbish\r\n\r\n")
                self.close_connection = True
            case _:
                super().do_HEAD()

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # As many as connect at once: a full queue costs the client a second.
    request_queue_size = 64


@contextmanager
def serving(folder: Path) -> Iterator[Web]:
    """Serve `folder` on a free port of the loopback interface until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    web = Web(folder)
    with _Server(("127.0.0.1", 0), partial(_Handler, web)) as server:
        web.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield web
        finally:
            web.hold.set()
            server.shutdown()
            thread.join()
