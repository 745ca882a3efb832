"""The map of an estate: one picture of sites, racks, hosts, what runs on them, and pledges. Pure.

It stands alone: style and all are inside, it loads nothing, and it serves light and dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.resources import files
from xml.etree.ElementTree import Element

from commonfarm.estate.drawing import meters, spans
from commonfarm.estate.drawing.svg import NAMESPACE, node, write
from commonfarm.estate.facts import Facts, Host, Instance
from commonfarm.estate.showing import in_a_row
from commonfarm.estate.timeline import leaves_on, stands

WIDTH = 1240
MARGIN = 20
COLUMNS = 4
GAP = 16
CELL = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) // COLUMNS
LABEL = 62
VALUE = 104
LINE = 15
MOST_LINES = 40

_STYLE = """
:root { --paper: #f6f5f0; --sheet: #ffffff; --ink: #1d2420; --faint: #57625b; --line: #d9dacf;
  --field: #2f6b46; --bad: #a32218; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #121714; --sheet: #1a211d; --ink: #e3e9e4; --faint: #a0aca4; --line: #323c36;
    --field: #7fc79a; --bad: #ffa69a; } }
text { font: 12px system-ui, "Noto Sans", "DejaVu Sans", Arial, sans-serif; fill: var(--ink); }
.paper { fill: var(--paper); } .sheet { fill: var(--sheet); stroke: var(--line); }
.title { font-size: 20px; font-weight: 650; } .site { font-size: 15px; font-weight: 650; }
.rack, .small, .tick { font-size: 11px; fill: var(--faint); } .name { font-weight: 600; }
.bad { fill: var(--bad); } .rule { stroke: var(--line); }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a map shows: where instances run, those without a host, and as of when."""

    facts: Facts
    today: date
    on: Mapping[str, str]
    unplaced: Mapping[str, str]
    colours: meters.Colours = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "colours", meters.Colours(self.facts))


def draw(shown: Shown) -> str:
    """Return the map of an estate as SVG. `unplaced`: instance -> why it has no host."""
    sheet = _Sheet()
    _heading(sheet, shown)
    inside = meters.guests(shown.facts, shown.on)
    for site, racks in _places(shown).items():
        sheet.down(18)
        sheet.text(MARGIN, _site_title(shown.facts, site), "site")
        sheet.down(8)
        for rack, hosts in racks.items():
            if rack:
                sheet.down(LINE)
                sheet.text(MARGIN, f"rack {rack}", "rack")
                sheet.down(6)
            for start in range(0, len(hosts), COLUMNS):
                _row(sheet, shown, hosts[start : start + COLUMNS], inside)
    _without_host(sheet, shown)
    _pledges(sheet, shown)
    return sheet.done(f"The estate as of {shown.today}")


class _Sheet:
    """Elements from top to bottom; `y` is the base of the next line."""

    def __init__(self) -> None:
        self.y = MARGIN
        self.elements: list[Element] = []

    def down(self, much: float) -> None:
        self.y += round(much)

    def add(self, element: Element) -> None:
        self.elements.append(element)

    def text(self, x: float, text: str, kind: str, *, most: int = 150, end: bool = False) -> None:
        anchor = "end" if end else None
        shown = node("text", _cut(text, most), class_=kind, x=x, y=self.y, text_anchor=anchor)
        if len(text) > most:
            shown.append(node("title", text))
        self.add(shown)

    def done(self, label: str) -> str:
        height = self.y + MARGIN
        # The sheet's own colours are read before the shared ones, which use them.
        style = _STYLE + files("commonfarm.estate").joinpath("static/estate.css").read_text("utf-8")
        root = node(
            "svg",
            node("title", label),
            xmlns=NAMESPACE,
            viewBox=f"0 0 {WIDTH} {height}",
            width=WIDTH,
            height=height,
        )
        look = Element("style")
        look.text = style
        root.append(look)
        root.append(node("rect", class_="paper", x=0, y=0, width=WIDTH, height=height))
        root.extend(self.elements)
        return write(root) + "\n"


def _heading(sheet: _Sheet, shown: Shown) -> None:
    facts = shown.facts
    sheet.down(8)
    sheet.text(MARGIN, f"The estate as of {shown.today}", "title")
    sheet.down(20)
    here = sum(stands(facts, host, shown.today) for host in facts.hosts.values())
    counted = (
        f"{_count(here, 'host')} at {_count(len(facts.sites), 'site')},"
        f" {_count(len(shown.on), 'instance')} placed"
    )
    sheet.text(MARGIN, counted, "small")
    if shown.unplaced:
        sheet.text(MARGIN + 420, f"{len(shown.unplaced)} without a host", "name bad")
    sheet.down(6)
    x = MARGIN
    sheet.down(14)
    for service in facts.services:
        wide = 24 + 7 * min(len(service), 30)
        if x + wide > WIDTH - MARGIN:
            x = MARGIN
            sheet.down(18)
        swatch = f"c{shown.colours.of(service)}"
        box = node("rect", class_=swatch, x=x, y=sheet.y - 9, width=10, height=10)
        sheet.add(node("g", box, class_="meter"))
        sheet.text(x + 15, service, "small", most=30)
        x += wide
    sheet.down(6)


def _places(shown: Shown) -> dict[str, dict[str, list[Host]]]:
    """Return the hosts that are there by site and rack; what has no site comes last."""
    found: dict[str, dict[str, list[Host]]] = {name: {} for name in shown.facts.sites}
    for host in shown.facts.hosts.values():
        if stands(shown.facts, host, shown.today):
            racks = found.setdefault(host.site or "", {})
            racks.setdefault(host.rack or "", []).append(host)
    return {
        site: dict(sorted(racks.items()))
        for site, racks in sorted(found.items(), key=lambda one: (one[0] == "", one[0]))
        if racks
    }


def _site_title(facts: Facts, site: str) -> str:
    if not site:
        return "no site"
    title = facts.sites[site].title
    return site if title == site else f"{site}: {title}"


def _row(
    sheet: _Sheet, shown: Shown, hosts: list[Host], inside: Mapping[str, list[Instance]]
) -> None:
    """Draw hosts side by side, as high as the highest of them."""
    drawn = [meters.meters(one, inside[one.name], "likely", shown.colours) for one in hosts]
    high = 26 + LINE * max(1, *map(len, drawn)) + 8
    top = sheet.y
    for number, (host, bars) in enumerate(zip(hosts, drawn, strict=True)):
        left = MARGIN + number * (CELL + GAP)
        box = node("rect", class_="sheet", x=left, y=top, width=CELL, height=high, rx=3)
        sheet.add(box)
        sheet.y = top + 18
        sheet.text(left + 10, host.name, "name", most=24)
        leaves = leaves_on(shown.facts, host)
        if leaves:
            sheet.text(left + CELL - 10, f"until {leaves}", "small", end=True)
        if not bars:
            sheet.down(LINE)
            sheet.text(left + 10, "says no capacity", "small")
        for bar in bars:
            sheet.down(LINE)
            _bar(sheet, bar, host.name, left)
    sheet.y = top + high + 10


def _bar(sheet: _Sheet, meter: meters.Meter, host: str, left: float) -> None:
    sheet.text(left + 10, meter.key.removeprefix("CUSTOM_").lower(), "small", most=9)
    bar = meters.draw(meter, host)
    wide = CELL - 20 - LABEL - VALUE
    _put(bar, left + 10 + LABEL, sheet.y - 8, wide, 9)
    sheet.add(bar)
    kind = "small bad" if meter.over else "small"
    sheet.text(left + CELL - 10, meter.share, kind, most=20, end=True)


def _put(drawing: Element, x: float, y: float, width: float, height: float) -> None:
    for key, value in (("x", x), ("y", y), ("width", width), ("height", height)):
        drawing.set(key, f"{value:g}")


def _without_host(sheet: _Sheet, shown: Shown) -> None:
    if not shown.unplaced:
        return
    sheet.down(24)
    sheet.text(MARGIN, "Without a host", "site")
    together: dict[str, list[str]] = {}
    for name, why in shown.unplaced.items():
        together.setdefault(why, []).append(name)
    lines = [f"{', '.join(in_a_row(names))}: {why}" for why, names in together.items()]
    for line in _few(lines):
        sheet.down(LINE)
        sheet.text(MARGIN, line, "small bad", most=190)
    sheet.down(4)


def _pledges(sheet: _Sheet, shown: Shown) -> None:
    rows = [one for one in spans.spans(shown.facts, shown.today) if not one.over]
    if not rows:
        return
    axis = spans.Axis.of(shown.facts, shown.today)
    sheet.down(26)
    sheet.text(MARGIN, "Pledges", "site")
    left, wide = MARGIN + 300, WIDTH - 2 * MARGIN - 300 - 180
    sheet.down(LINE)
    for day, place in axis.ticks():
        sheet.text(left + wide * place / 1000, f"{day:%Y-%m}", "tick")
    for one in rows[:MOST_LINES]:
        sheet.down(LINE + 3)
        sheet.text(MARGIN, one.pledge.name, "name", most=38)
        bar = spans.draw(one, axis)
        _put(bar, left, sheet.y - 9, wide, 10)
        sheet.add(bar)
        sheet.text(left + wide + 10, one.text, "small", most=30)
    if len(rows) > MOST_LINES:
        sheet.down(LINE)
        sheet.text(MARGIN, f"and {len(rows) - MOST_LINES} more", "small")


def _few(lines: list[str]) -> Iterator[str]:
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"and {len(lines) - MOST_LINES} more"


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
