"""How many clients fit into the files this process may have open at once."""

from __future__ import annotations

import resource

MOST_CONNECTIONS = 4096
MOST_TRANSFERS = 256
SPARE_FILES = 48
"""For the event loop, the map, and clients that are told to come again."""


def fit(files: int) -> tuple[int, int]:
    """Return how many connections and how many transfers `files` open files are enough for.

    A connection takes one, a transfer two more.
    """
    free = max(files - SPARE_FILES, 4)
    transfers = min(MOST_TRANSFERS, free // 4)
    return min(MOST_CONNECTIONS, free - 2 * transfers), transfers


def fit_open_files() -> tuple[int, int]:
    """Raise the limit of open files as far as this process may, and `fit` what comes of it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return fit(hard)
