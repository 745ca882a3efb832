"""Probes, from the tables to the tables, and looks that were made while the clock was wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.guard.interface import defer_once
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import Reason
from commonfarm.mirrors import scanning, tasks
from commonfarm.mirrors.models import Mirror, Probe, State
from commonfarm.mirrors.scanning import Code, Outcome, Probed
from commonfarm.mirrors.steps import audit, keeping, probe, scan
from tests.mirrors.conftest import NOW, Tree
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db


def test_probes_say_who_answers_and_flapping_is_damped(
    mirror: Mirror, tree: Tree, web: Web
) -> None:
    Mirror.objects.update(answers=0, probed_at=None, local=False)
    at = NOW

    def minute(behaviour: str) -> tuple[bool, int]:
        nonlocal at
        at += timedelta(minutes=1)
        web.behaviour = behaviour
        news = probe.probe(mirror.pk, at)
        mirror.refresh_from_db()
        return news, mirror.answers

    assert minute("") == (True, 1)
    assert mirror.local and mirror.probed_at == at
    assert minute("") == (False, 1)
    assert minute("broken") == (False, 1), "one failure proves nothing"
    assert minute("broken") == (True, 0)
    assert "500" in mirror.probe_problem
    assert minute("") == (False, 0)
    assert minute("") == (True, 1), "it went down once: two successes"
    said = list(Entry.objects.order_by("id").values_list("what", flat=True))[2:]
    assert said == ["mirror answers", "mirror down", "mirror answers"]
    assert Probe.objects.count() == 6
    assert keeping.prune(at + timedelta(days=3)) == 6


def test_a_mirror_that_comes_back_is_asked_for_what_is_new(mirror: Mirror, web: Web) -> None:
    Mirror.objects.update(answers=0, probed_at=None)
    for _ in range(2):
        tasks.probe_mirror.func(mirror.pk)
        found = ProcrastinateJob.objects.filter(task_name="mirrors.check")
        assert [job.scheduled_at for job in found] == [None]


@pytest.mark.parametrize(
    ("problems", "told"),
    [
        ((Code.NO_ADDRESS, Code.NO_ADDRESS), Code.NO_ADDRESS),
        ((Code.NO_ADDRESS, Code.NO_ROUTE), Code.NO_ROUTE),
        ((Code.NO_ADDRESS, Code.MISSING), Code.MISSING),
    ],
)
def test_a_mirror_that_no_family_reaches_is_told_why(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, problems: tuple[Code, Code], told: Code
) -> None:
    Mirror.objects.update(answers=0, probed_at=None)
    four, six = (Outcome(Reason(code, f"said {code}")) for code in problems)
    monkeypatch.setattr(probe, "ask", lambda *_: Probed(http4=four, http6=six))
    probe.probe(mirror.pk, NOW)
    mirror.refresh_from_db()
    assert (mirror.answers, mirror.probe_problem) == (0, f"said {told}")


def test_a_probe_of_an_address_that_was_changed_meanwhile_says_nothing(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: object) -> object:
        Mirror.objects.update(http="http://192.0.2.1/", answers=0, probed_at=None)
        return scanning.probe(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(probe, "ask", slow)
    assert probe.probe(mirror.pk, NOW) is False
    mirror.refresh_from_db()
    assert (mirror.answers, mirror.probed_at) == (0, None)


def test_what_was_seen_in_the_future_does_not_stand_in_the_way(mirror: Mirror, web: Web) -> None:
    ahead = timezone.now() + timedelta(days=10)
    mirror.prove(ahead, how="vouched", who="user:anna")
    for minute in range(2):
        probe.probe(mirror.pk, ahead + timedelta(minutes=minute))
    done = scan.scan(mirror.pk, lambda: ahead)
    assert done is not None and done.ok
    assert audit.audit(mirror.pk, ahead)
    defer_once(tasks.check_mirror, "later", in_seconds=10 * 86400, mirror_id=mirror.pk)

    web.behaviour = "broken"
    tasks.reconcile_mirrors.func(0)
    for minute in range(1, 3):
        probe.probe(mirror.pk, timezone.now() + timedelta(minutes=minute))
    mirror.refresh_from_db()
    assert mirror.answers == 0, "it is down, whatever was seen in the future"
    assert mirror.standing(mirror.last_scan())[0] is State.DOWN
    after = timezone.now() + timedelta(minutes=20)
    assert scan.due(timezone.now()) == [] and scan.due(after) == [mirror]
    assert audit.due(timezone.now()) == [] and audit.due(after) == [mirror]
    assert not ProcrastinateJob.objects.filter(scheduled_at__gt=after).exists()
