"""`{% load commonfarm %}`: the small parts that pages are put together from."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from commonfarm.lib.errors import Reason
from commonfarm.lib.units import format_bytes, format_seconds
from commonfarm.web.assets import address

register = template.Library()

TONES = {
    "good": (
        "succeeded published ready clean ok up added identical verified signed enabled current"
        " public"
    ),
    "bad": "failed silent broken missing down expired refused differs rejected quarantined",
    "busy": "leased building running pending assembled scanning publishing renewing",
    "wait": (
        "waiting cordoned dirty cleaning behind stale partial disabled unproved unprobed unscanned"
        " unaudited unlisted reviewed embargoed"
    ),
}
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})")
_TONE = {word: tone for tone, words in TONES.items() for word in words.split()}


@register.simple_tag
def asset(name: str) -> str:
    """Return the address of a static file."""
    return address(name)


@register.simple_tag
def badge(state: object, title: str = "") -> SafeString:
    """Show a state as a word; its colour and mark repeat what the word says."""
    word = str(state)
    return format_html(
        '<span class="badge {}"{}>{}</span>',
        _TONE.get(word, "plain"),
        format_html(' title="{}"', title) if title else "",
        word,
    )


@register.simple_tag
def when(at: datetime | str | None, never: str = "never") -> SafeString:
    """Show a point in time by its distance from now, the exact time as its title."""
    if not at:
        return format_html('<span class="never">{}</span>', never)
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.astimezone(UTC).isoformat(timespec="seconds"),
        moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        distance(moment, datetime.now(UTC)),
    )


def distance(moment: datetime, now: datetime) -> str:
    """Say how far `moment` is from `now`; beyond two days the date is clearer."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) >= 2 * 86400:
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    size = abs(round(seconds))
    if size < 5:
        return "now"
    number, unit = next(
        (size // length, unit)
        for unit, length in (("h", 3600), ("min", 60), ("s", 1))
        if size >= length
    )
    return f"{number} {unit} ago" if seconds > 0 else f"in {number} {unit}"


@register.filter(name="bytes")
def size(value: int | None) -> str:
    """Show a number of bytes in the unit that people read."""
    return "" if value is None else format_bytes(value)


@register.filter
def dates(text: str) -> SafeString:
    """Show a text in which no date is broken at its hyphens."""
    parts = _DATE.split(text)
    shown = (
        format_html('<span class="nowrap">{}</span>' if number % 2 else "{}", part)
        for number, part in enumerate(parts)
    )
    return format_html_join("", "{}", ((part,) for part in shown))


@register.filter
def duration(seconds: float | None) -> str:
    """Show a number of seconds as people say it."""
    return "" if seconds is None else format_seconds(seconds)


@register.filter
def seconds_to(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from `start` to `end`, or to now while there is no end."""
    if start is None:
        return None
    return ((end or datetime.now(UTC)) - start).total_seconds()


@register.inclusion_tag("web/parts/reason.html")
def reason(why: Reason | str, lifted_by: str = "", tone: str = "") -> dict[str, Any]:
    """Show why something is refused or waits, and what would lift it."""
    if isinstance(why, Reason):
        return {"text": why.text, "lifted_by": why.lifted_by, "tone": tone}
    return {"text": why, "lifted_by": lifted_by, "tone": tone}


@register.inclusion_tag("web/parts/empty.html")
def empty(text: str, command: str = "") -> dict[str, Any]:
    """Say that a list has no rows, and the command that would give it some."""
    return {"text": text, "command": command}


@register.inclusion_tag("web/parts/pages.html", takes_context=True)
def pages(
    context: template.Context, following: object, key: str = "after", *, by_age: bool = True
) -> dict[str, Any]:
    """Link to rows after the cursor `following`, older ones `by_age`, and back to the first."""
    query = context["request"].GET.copy()
    began_later = query.pop(key, None) is not None
    first = query.urlencode()
    if following is not None:
        query[key] = str(following)
    return {
        "words": ("Newest", "Older") if by_age else ("First", "Next"),
        "first": f"?{first}" if began_later else None,
        "older": f"?{query.urlencode()}" if following is not None else None,
    }
