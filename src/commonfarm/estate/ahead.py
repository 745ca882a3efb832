"""The forecast and the wanted list that are kept, as the rows of their pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from commonfarm.estate.answers.trends import Window
from commonfarm.estate.resources import resource
from commonfarm.estate.showing import in_a_row
from commonfarm.lib.units import format_seconds

_PAGES = {"host": "estate-host", "service": "estate-service"}


def row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of what runs out, of an outlook or of a network."""
    window = _window(one["out"])
    key = one["resource"]
    network = one["scope"] == "network"
    where = one["name"] if one["scope"] == "estate" else f"{one['scope']} {one['name']}"
    asked = {part: one[part] for part in ("scope", "name", "resource")}
    return {
        "what": _word(key),
        "where": where,
        "url": reverse(_PAGES[one["scope"]], args=[one["name"]]) if one["scope"] in _PAGES else "",
        "today": _addresses(one) if network else _amount(key, one["today"]),
        "capacity": str(one["capacity"]) if network else _capacity(key, one["capacity"]),
        "out": str(window) if window.earliest else "",
        "first": (window.likely or date.max, window.earliest or date.max, where, key),
        "reason": one["reason"],
        "curve": f"{reverse('estate-curve')}?{urlencode(asked)}" if _is_curve(one) else "",
    }


def rung(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rung of a ladder: which split comes when."""
    return {
        **one,
        "what": _word(one["resource"]),
        "share": f"{one['above']:.0%}",
        "window": "" if one["reason"] else str(_window(one["due"])),
        "amounts": ", ".join(f"{_word(key)} {_amount(key, much)}" for key, much in _sorted(one)),
    }


def asked(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to ask for: hosts of each kind with who would run on them, and what to widen."""
    additions = []
    for one in found["additions"]:
        guests = in_a_row(name for there in one["hosts"].values() for name in there)
        spare = sum(not there for there in one["hosts"].values())
        additions.append({**one, "many": len(one["hosts"]), "guests": guests, "spare": spare})
    return {
        **found,
        "additions": additions,
        "hosts": sum(one["many"] for one in additions),
        "wider": [_wider(one) for one in found["wider"]],
        "nowhere": [{**one, "names": [one["instance"]]} for one in found["nowhere"]],
    }


def _wider(one: Mapping[str, Any]) -> dict[str, str]:
    if one["scope"] == "network":
        would_do = f"{one['prefix']} would do" if one["prefix"] else ""
        more, there = f"{one['more']} more addresses", str(one["there"])
        return {"what": f"network {one['name']}", "more": more, "there": there, "hint": would_do}
    show = resource(one["resource"]).format
    more = f"{show(one['more'])} more {_word(one['resource'])}"
    return {"what": f"site {one['name']}", "more": more, "there": show(one["there"]), "hint": ""}


def transfer(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a transfer: how long each way takes."""
    ways: dict[str, dict[str, Any]] = {}
    for way in one["ways"]:
        told = ways.setdefault(way["remedy"], {"remedy": way["remedy"], "late": False})
        time = format_seconds(float(way["seconds"]))
        if way.get("handed_on") is not None:  # not in an answer of before an upgrade
            time += f", and {format_seconds(float(way['handed_on']))} out of the cache"
        told[way["level"]] = time
        told["late"] = told["late"] or way["fits"] is False
    return {
        "name": one["name"],
        "site": one["site"],
        "copies": _range(one["copies"], str),
        "size": resource("traffic").format(one["size"]).removesuffix("/month"),
        "link": resource("bandwidth").format(one["link"]),
        "within": format_seconds(one["within"]) if one["within"] else "",
        "needed": resource("bandwidth").format(one["needed"]["likely"]) if one["needed"] else "",
        "ways": list(ways.values()),
    }


def _sorted(one: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted((one["takes"] or one["needs"]).items())


def _window(out: Mapping[str, str | None]) -> Window:
    days = (out[key] for key in ("earliest", "likely", "latest"))
    return Window(*(date.fromisoformat(day) if day else None for day in days))


def _is_curve(one: Mapping[str, Any]) -> bool:
    return len(one["points"]) > 1


def _word(key: str) -> str:
    return key.removeprefix("CUSTOM_").lower().replace("_", " ")


def _amount(key: str, amounts: Mapping[str, int]) -> str:
    return _range(amounts, resource(key).format)


def _range(amounts: Mapping[str, int], shown: Any) -> str:
    if amounts["low"] == amounts["high"]:
        return str(shown(amounts["likely"]))
    return f"{shown(amounts['likely'])} ({shown(amounts['low'])} to {shown(amounts['high'])})"


def _capacity(key: str, amount: int | None) -> str:
    return "" if amount is None else resource(key).format(amount)


def _addresses(one: Mapping[str, Any]) -> str:
    return f"{one['taken']} taken, {_range(one['planned'], str)} planned"
