"""The journal's public names."""

from commonfarm.journal.events import Event
from commonfarm.journal.reader import Cursor, latest, read
from commonfarm.journal.recorder import CHANNEL, record

__all__ = ["CHANNEL", "Cursor", "Event", "latest", "read", "record"]
