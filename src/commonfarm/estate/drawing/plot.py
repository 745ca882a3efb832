"""Lines over an axis of numbers as SVG, by pygal.

One drawing serves light and dark. It holds its style and nothing from elsewhere: no script, no
font, no address. Pages show it as an image, where a style inside is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import pygal
from pygal.style import Style

WIDTH, HEIGHT = 600, 340
_ID = "curve"  # pygal makes `chart-curve` of it, and a random one without
_FONT = 'system-ui, "Noto Sans", "DejaVu Sans", "Liberation Sans", Arial, sans-serif'

_STYLE = """
#chart-curve { --paper: #ffffff; --ink: #1d2420; --faint: #57625b; --line: #d9dacf;
  --use: #1f5a99; --has: #2f6b46; --out: #a32218; --ours: #c97a2b; background: var(--paper); }
@media (prefers-color-scheme: dark) {
  #chart-curve { --paper: #1a211d; --ink: #e3e9e4; --faint: #a0aca4; --line: #323c36;
    --use: #9ccaff; --has: #7fc79a; --out: #ffa69a; --ours: #e5a763; } }
#chart-curve .background { fill: none; }
#chart-curve text { fill: var(--ink); }
#chart-curve .axis text { fill: var(--faint); }
#chart-curve .axis .guide.line, #chart-curve .axis .major.guide.line {
  stroke: var(--line); stroke-dasharray: none; }
#chart-curve .axis.x .guide.line { opacity: 0; }
#chart-curve .axis .line { stroke: var(--faint); }
#chart-curve .title { font-weight: 600; }
#chart-curve .line { fill: none; }
#chart-curve .series path { stroke-width: 2; }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name in the legend, its colour (`use`, `has`, `out`, `ours`), its points.

    `dashes` is as in SVG. A point whose second number is None interrupts the line.
    """

    label: str
    colour: str
    points: Sequence[tuple[float, float | None]]
    dashes: str = ""


def plot(
    lines: Sequence[Line],
    *,
    heading: str,
    title: str,
    description: str,
    labels: Sequence[dict[str, int | str]],
    top: float,
) -> str:
    """Return the SVG of `lines` from 0 to `top`.

    `heading` is drawn above them; `title` and `description` are for who does not see it. `labels`
    are the marks below, each with its `value` and `label`.
    """
    chart = pygal.XY(
        width=WIDTH,
        height=HEIGHT,
        css=("file://graph.css", "inline:" + _STYLE + _colours(lines)),
        js=(),
        style=Style(
            font_family=_FONT,
            title_font_size=16,
            label_font_size=13,
            major_label_font_size=13,
            legend_font_size=13,
        ),
        title=heading,
        show_dots=False,
        allow_interruptions=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(lines),
        truncate_legend=-1,
        x_labels=labels,
        range=(0, top),
        value_formatter=lambda value: f"{value:g}",
        disable_xml_declaration=True,
        max_scale=6,
    )
    chart.uuid = _ID
    for line in lines:
        chart.add(line.label, line.points)
    chart.add_xml_filter(lambda root: _plain(root, title, description))
    return str(chart.render(is_unicode=True))


def _colours(lines: Sequence[Line]) -> str:
    rules = []
    for number, line in enumerate(lines):
        colour = f"var(--{line.colour})"
        rules.append(f"#chart-curve .serie-{number} path {{ stroke: {colour}; }}")
        rules.append(f"#chart-curve .legend .color-{number} {{ fill: {colour}; }}")
        if line.dashes:
            rules.append(
                f"#chart-curve .serie-{number} path {{ stroke-dasharray: {line.dashes}; }}"
            )
            rules.append(f"#chart-curve .legend .color-{number} {{ fill-opacity: .5; }}")
    return "\n".join(rules)


def _plain(root: Element, title: str, description: str) -> Element:
    """Take out scripts and comments (one holds today's date); say for the blind what is shown."""
    for parent in list(root.iter()):
        for child in list(parent):
            script = str(child.tag).rpartition("}")[2] == "script"
            # A comment's tag is a function.
            if (
                script
                or not isinstance(child.tag, str)
                or child.get("class") == "plot tooltip-overlay"
            ):
                parent.remove(child)
    root.set("role", "img")
    named = next(child for child in root if child.tag == "title")
    named.text = title
    said = Element("desc")
    said.text = description
    root.insert(list(root).index(named) + 1, said)
    return root
