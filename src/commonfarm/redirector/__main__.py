"""`python -m commonfarm.redirector ADDRESS PORT PUBLISHED MIRROR_MAP PUBLIC_KEY [PROXY…]`."""

from __future__ import annotations

import sys
from pathlib import Path

from commonfarm.redirector.server import run


def main(arguments: list[str]) -> int:
    """Run the redirector with plain arguments; PROXY is a trusted network such as 10.0.0.0/8."""
    try:
        address, port, published, mirror_map, public_key, *proxies = arguments
        number = int(port)
    except ValueError:
        print(__doc__, file=sys.stderr)
        return 2
    run(
        address=address,
        port=number,
        published=Path(published),
        mirror_map=Path(mirror_map),
        public_key=Path(public_key),
        trusted_proxies=proxies,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
