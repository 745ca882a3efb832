"""What others wrote is shown on a terminal as it is, and does nothing there."""

from __future__ import annotations

import pytest

from commonfarm.lib.terminal import print_table


def test_a_table_takes_no_markup_and_cuts_nothing_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    print_table(("name", "why"), [("[/b]\x1b[31m", "long-" * 20), (None, 5)])
    said = capsys.readouterr().out
    assert "[/b]?[31m" in said and "\x1b" not in said and "…" not in said
    assert "long-" * 20 in "".join(said.split())
