"""What the worker answers of the estate in force, each day and after each load, for the pages.

An answer is made of what others may see (`disclosure`), so it can be shown as it stands.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import date

from commonfarm.estate.facts import Facts
from commonfarm.estate.kept import seen
from commonfarm.estate.models import Answer, Load
from commonfarm.lib.errors import CommonfarmError, Reason

_log = logging.getLogger(__name__)


def _plan(facts: Facts, today: date) -> str:
    from commonfarm.estate import planner

    return planner.plan(facts, today).to_json()


def _forecast(facts: Facts, today: date) -> str:
    from commonfarm.estate.answers import forecast

    return json.dumps(forecast.document(forecast.forecast(facts, today), curves=True))


def _cliffs(facts: Facts, today: date) -> str:
    from commonfarm.estate.answers.solving import cliffs_of

    return json.dumps(asdict(cliffs_of(facts, today)), default=str)


def _wanted(facts: Facts, today: date) -> str:
    from commonfarm.estate.answers.letter import letter
    from commonfarm.estate.answers.solving import wanted_of

    likely, high = wanted_of(facts, today)
    told = {"day": today, "likely": asdict(likely), "high": asdict(high)}
    return json.dumps(told | {"letter": letter(facts, likely, today)}, default=str)


KINDS: dict[str, Callable[[Facts, date], str]] = {
    "plan": _plan,
    "forecast": _forecast,
    "cliffs": _cliffs,
    "wanted": _wanted,
}
"""What is answered, and how: facts and today's date to JSON. Solvers are loaded when called."""


def due(today: date) -> list[str]:
    """Return the kinds of answers that are not of the estate in force and of today."""
    load = Load.in_force()
    if load is None:
        return []
    there = Answer.objects.filter(load=load, as_of=today).values_list("kind", flat=True)
    return [kind for kind in KINDS if kind not in set(there)]


def answer(kind: str, today: date) -> Answer | None:
    """Make the answer of a kind and keep it instead of the one before; None without an estate.

    One that cannot be made says why, and is not tried again before the next day or load.
    """
    load = Load.in_force()
    if load is None:
        return None
    document, problem = "", None
    try:
        document = KINDS[kind](seen(load), today)
    except CommonfarmError as error:
        problem = error.reason
    except Exception:
        _log.exception("the %s of load %s failed", kind, load.pk)
        to_do = "run it on a folder to see more, or report it: the worker's log has the rest"
        problem = Reason("answer-failed", f"a fault of ours kept the {kind} from being made", to_do)
    shown = {"document": document, "problem": asdict(problem) if problem else None}
    made, _ = Answer.objects.update_or_create(
        kind=kind, defaults={"load": load, "as_of": today, **shown}
    )
    return made
