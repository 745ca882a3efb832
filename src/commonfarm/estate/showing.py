"""How a value of the estate is shown in one line. No Django in here."""

from __future__ import annotations

from typing import Any

from commonfarm.lib.units import format_seconds


def as_text(value: Any) -> str:
    """Return `value` as people write it: lists with commas, mappings as their values."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(as_text(one) for one in value)
        case dict():
            return " ".join(
                f"{key.removesuffix('_seconds')} for {format_seconds(one)}"
                if key.endswith("_seconds")
                else as_text(one)
                for key, one in value.items()
            )
    return str(value)
