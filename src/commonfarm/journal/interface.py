"""The journal's public names."""

from commonfarm.journal.events import Event
from commonfarm.journal.following import newest_async, read_async
from commonfarm.journal.reader import Cursor, latest, read, show
from commonfarm.journal.recorder import CHANNEL, record

__all__ = [
    "CHANNEL",
    "Cursor",
    "Event",
    "latest",
    "newest_async",
    "read",
    "read_async",
    "record",
    "show",
]
