"""The table of events."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Xid8Field(models.Field):  # type: ignore[type-arg]  # not generic when running
    """PostgreSQL's 64-bit transaction id."""

    def db_type(self, connection: object) -> str:
        return "xid8"


class CurrentTransaction(models.Func):
    """The id of the transaction that writes the row."""

    function = "pg_current_xact_id"
    template = "%(function)s()"
    output_field = Xid8Field()


class Entry(models.Model):
    """One line of the journal. Rows are added and never changed: a trigger refuses the rest.

    `transaction` orders the readers: see `reader.py`.
    """

    id = models.BigAutoField(primary_key=True)
    transaction = Xid8Field(db_default=CurrentTransaction(), editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False)
    who = models.CharField(max_length=200)
    what = models.CharField(max_length=100)
    subject = models.CharField(max_length=300)
    why = models.TextField(blank=True)
    details = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["transaction", "id"], name="journal_order"),
            models.Index(fields=["subject", "id"], name="journal_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.who} {self.what} {self.subject}"
