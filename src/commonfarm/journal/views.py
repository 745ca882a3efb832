"""The journal's page."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from commonfarm.journal.models import Entry
from commonfarm.journal.reader import Cursor, latest

SHOWN = 100


@login_required
def journal(request: HttpRequest) -> HttpResponse:
    """Show the newest entries, those of one subject if asked; the page goes on by itself.

    The `before` of an older page is a cursor; what is none is taken as none.
    """
    subject = request.GET.get("subject", "").replace("\0", "")[:300]
    try:
        before = Cursor.parse(request.GET.get("before", ""))
    except ValueError:
        before = None
    # The page goes on from the place of the whole journal, not from that of the subject's last
    # entry, or all that was written since would be sent to it. Taken first, it misses nothing.
    newest = latest(1)
    found = latest(SHOWN + 1, subject or None, before)[::-1]
    entries: list[Entry] = found[:SHOWN]
    shown = {
        "entries": entries,
        "subject": subject,
        "live": before is None,
        "place": max(map(Cursor.of, newest + entries[:1]), default=Cursor()),
        "following": Cursor.of(entries[-1]) if len(found) > SHOWN else None,
    }
    return render(request, "journal/journal.html", shown)
