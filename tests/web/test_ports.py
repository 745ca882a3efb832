"""Every port is filled, listed, and missed when it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from commonfarm.fleet import ports
from commonfarm.lib.ports import Port, _declared

ROOT = Path(__file__).parents[2]


def declared() -> list[Port[object]]:
    """Return the ports of the rooms; tests declare some of their own."""
    return [port for port in _declared if not port.name.startswith("test.")]


def test_all_are_filled() -> None:
    assert declared()
    call_command("check")


def test_an_unfilled_port_fails_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports.work_of, "_filled_by", None)
    with pytest.raises(SystemCheckError, match=r"the port fleet\.work_of is not filled"):
        call_command("check")
    with pytest.raises(LookupError, match=r"fleet\.work_of is not filled"):
        ports.work_of.get()


def test_the_reference_lists_them_all_with_who_declares_and_fills_them() -> None:
    reference = (ROOT / "docs/reference/ports.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \| (\w+) \| .+ \|$", reference, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(port.name for port in declared())
    for name, file, room in rows:
        source = (ROOT / "src/commonfarm" / file).read_text()
        assert f'Port("{name}")' in source
        variable = name.partition(".")[2]
        filled = [*(ROOT / "src/commonfarm" / room).rglob("*.py")]
        assert any(f"{variable}.fill(" in path.read_text() for path in filled), f"{room}: {name}"
