"""What others wrote as a plan ends as bad input or as violations, whatever it holds, and soon."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from commonfarm.estate.plan import Plan
from commonfarm.estate.verifier import Promise, verify
from commonfarm.lib.errors import BadInputError
from tests.estate.making import facts, host, instance
from tests.estate.plans import everywhere

ESTATE = facts(host("x", memory="8 GiB"), instance("a", memory="4 GiB"))
TEXT = everywhere(ESTATE, {"a/app/production/1": "x"}).to_json()
HUGE = "9" * 4200


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = Plan.from_json(TEXT, "plan.json")
    assert plan.to_json() == TEXT
    assert verify(ESTATE, plan).violations == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[" * 100_000,
        '{"intervals":' * 100_000,
        TEXT.replace('"bound": 1', '"bound": ' + "9" * 5000),
        TEXT.replace('"bound": 1', '"bound": 1e308'),
        TEXT.replace('"bound": 1', '"bound": NaN'),
        TEXT.replace('"bound": 1', '"bound": "1"'),
        TEXT.replace('"format": 1', '"format": 2'),
        TEXT.replace('"format": 1', '"format": 1, "more": 2'),
        TEXT.replace("2026-01-15", "2026-02-30"),
        TEXT.replace('"test"', '"\\ud800"'),
        TEXT.replace('"likely"', '"perhaps"'),
    ],
)
def test_what_is_no_plan_is_bad_input(text: str) -> None:
    with pytest.raises(BadInputError, match=r"plan\.json: is") as refused:
        Plan.from_json(text, "plan.json")
    assert len(str(refused.value)) < 300


def _rows(row: Callable[[int], dict[str, Any]]) -> str:
    plan = json.loads(TEXT)
    likely = plan["intervals"][0]["levels"]["likely"]
    likely["certificate"]["rows"] = [
        {"scope": "host", "name": "x", "resource": "memory", "divisor": 1, "multiplier": 1}
        | row(number)
        for number in range(30_000)
    ]
    return json.dumps(plan)


def _placed(count: int) -> str:
    plan = json.loads(TEXT)
    likely = plan["intervals"][0]["levels"]["likely"]
    likely["on"] = {f"\x1b[2J{number}": "nowhere\n" * 50 for number in range(count)}
    return json.dumps(plan)


@pytest.mark.parametrize(
    ("text", "promise"),
    [
        (TEXT.replace('"bound": 1', f'"bound": {HUGE}'), Promise.BOUND),
        (TEXT.replace('"weight": 1', f'"weight": -{HUGE}'), Promise.WEIGHT),
        (TEXT.replace('"scale": 1', f'"scale": -{HUGE}'), Promise.CERTIFICATE),
        (TEXT.replace('"broken_spreads": []', f'"broken_spreads": [{HUGE}]'), Promise.WISHES),
        (TEXT.replace("2026-01-15", "9999-12-31"), Promise.TIME),
        (_rows(lambda n: {"divisor": n + 1}), Promise.CERTIFICATE),
        (_rows(lambda n: {"scope": "spread", "name": f"{n} x"}), Promise.CERTIFICATE),
        (_rows(lambda n: {"name": f"x{n}"}), Promise.CERTIFICATE),
        (_placed(30_000), Promise.ONCE),
        (_placed(1), Promise.STANDS),
        (json.dumps(json.loads(TEXT) | {"intervals": []}), Promise.TIME),
        (
            json.dumps(json.loads(TEXT) | {"intervals": json.loads(TEXT)["intervals"] * 500}),
            Promise.TIME,
        ),
    ],
)
def test_a_plan_that_lies_has_few_violations_in_short_words(text: str, promise: Promise) -> None:
    found = verify(ESTATE, Plan.from_json(text, "plan.json")).violations
    assert promise in {one.promise for one in found}
    assert len(found) < 20
    for one in found:
        assert len(str(one)) < 400
        assert str(one).isprintable()
        assert all(number is None or abs(number) < 2**63 for number in (one.found, one.expected))
