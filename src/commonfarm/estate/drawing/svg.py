"""Elements of SVG. Text and attributes are escaped by the writer, so no name can be markup."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from commonfarm.lib.terminal import harmless

NAMESPACE = "http://www.w3.org/2000/svg"
Value = str | int | float | None


def node(tag: str, *inside: Element | str, **attributes: Value) -> Element:
    """Return an element; `class_` is `class`, `font_size` is `font-size`, None is left out."""
    said = {
        key.rstrip("_").replace("_", "-"): _text(value)
        for key, value in attributes.items()
        if value is not None
    }
    made = Element(tag, said)
    for one in inside:
        if isinstance(one, Element):
            made.append(one)
        else:
            made.text = (made.text or "") + harmless(one)
    return made


def stretched(height: int, label: str, *inside: Element | str) -> Element:
    """Return a drawing of 1000 units in width that is as wide as the place it is put in."""
    return node(
        "svg",
        *inside,
        xmlns=NAMESPACE,
        viewBox=f"0 0 1000 {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def linked(element: Element, address: str | None) -> Element:
    """Return an element as a link, where there is an address."""
    return node("a", element, href=address) if address else element


def write(element: Element) -> str:
    """Return an element as text."""
    return tostring(element, encoding="unicode")


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return harmless(str(value))
