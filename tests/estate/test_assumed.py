"""What an answer rests on, as it is told below it."""

from __future__ import annotations

import io
import sys

import pytest

from commonfarm.estate.facts import Assumption
from commonfarm.estate.verbs.assumed import rests_on

LONG = Assumption("a.yaml:1:2", "size beefy: cores 16, memory 64 GiB, disk 2 TB")
SHORT = Assumption("a.yaml:2:2", "size small: cores 1")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_nothing_is_assumed_nothing_is_said() -> None:
    assert rests_on([]) == []


def test_all_of_it_is_said_where_no_terminal_is_too_narrow() -> None:
    told = [f"  {one.where}: {one.what}" for one in (LONG, SHORT)]
    assert rests_on([LONG, SHORT]) == ["rests on 2 assumptions:", *told]
    assert rests_on([SHORT]) == ["rests on 1 assumption:", told[1]]


def test_each_is_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    head, long, short = rests_on([LONG, SHORT])
    assert (head, len(long)) == ("rests on 2 assumptions:", 40)
    assert long == "  a.yaml:1:2: size beefy: cores 16, mem…"
    assert short == "  a.yaml:2:2: size small: cores 1"
    assert rests_on([LONG], full=True)[1].endswith("disk 2 TB")
