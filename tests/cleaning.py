"""Stops the database of a process of tests and removes its folder, however that process ended.

It is told by its input, which ends with that process: after a kill nobody else would.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from commonfarm.installation import leftovers


def main() -> None:
    folder = Path(sys.argv[1])
    sys.stdin.read()
    leftovers.stop(leftovers.works_in(folder / "postgres"), signal.SIGINT, 20)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
