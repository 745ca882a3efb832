"""The redirector's own command line: `python -m commonfarm.redirector --help`."""

from __future__ import annotations

import argparse
import re
import sys
from ipaddress import ip_network
from pathlib import Path

from commonfarm.redirector.networks import Network
from commonfarm.redirector.server import run
from commonfarm.redirector.state import Settings

_PUBLIC = re.compile(r"https?://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]*(?:/[A-Za-z0-9/_.~-]*)?")


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _public(text: str) -> str:
    if not _PUBLIC.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https address")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m commonfarm.redirector",
        description="Answer downloads: send them to mirrors, or serve them.",
    )
    add = parser.add_argument
    add("--address", default="127.0.0.1", help="where to listen (default: %(default)s)")
    add("--port", type=int, required=True, help="the port to listen on; 0: any free one")
    add("--published", type=Path, required=True, help="the folder of what we serve ourselves")
    add("--mirror-map", type=Path, required=True, help="the folder of the mirror map")
    add("--public-key", type=Path, required=True, help="the PEM file that the map is checked by")
    add("--spool", type=Path, help="the folder that counts are put into; without it none are made")
    add(
        "--public",
        type=_public,
        metavar="URL",
        help="our address as clients know it; without it the one that each of them asked",
    )
    add(
        "--trusted-proxy",
        type=_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="a proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; may come again",
    )
    add(
        "--places",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.mmdb",
        help="tells country, AS or coordinates of addresses; may come again, the first is believed",
    )
    return parser


def main(arguments: list[str]) -> None:
    """Run the redirector as `arguments` say."""
    told = _parser().parse_args(arguments)
    settings = Settings(
        published=told.published,
        mirror_map=told.mirror_map,
        public_key=told.public_key,
        spool=told.spool,
        public=told.public or "",
        trusted_proxies=told.trusted_proxy,
        places=told.places,
    )
    run(settings, told.address, told.port)


if __name__ == "__main__":
    main(sys.argv[1:])
