"""Whether a mirror answers, by each scheme and address family, each minute or so."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from commonfarm.archive.interface import TreeFile
from commonfarm.guard.interface import alone
from commonfarm.journal.interface import record
from commonfarm.mirrors import alarms
from commonfarm.mirrors.addresses import Policy, addresses_of, all_loopback
from commonfarm.mirrors.countries import elsewhere
from commonfarm.mirrors.events import MirrorWentDown
from commonfarm.mirrors.holdings import WHO, bits_of
from commonfarm.mirrors.models import Mirror, Probe
from commonfarm.mirrors.scanning import Beat, Code, Probed, Wanted, damped
from commonfarm.mirrors.scanning import probe as ask
from commonfarm.mirrors.steps.scan import bases, find, path_there
from commonfarm.redirector.mirror_map import Answers

REMEMBERED = timedelta(hours=6)
KNOWN_FILES = 3
_BITS = {
    "http4": Answers.HTTP4,
    "http6": Answers.HTTP6,
    "https4": Answers.HTTPS4,
    "https6": Answers.HTTPS6,
}
_OF_A_FAMILY = (Code.NO_ROUTE, Code.NO_ADDRESS)
"""What says nothing of the mirror as long as it answers by the other address family."""


def probe(mirror_id: int, now: datetime) -> bool:
    """Probe a mirror and write down how it answers; say whether clients are to hear of it.

    Raises BusyError while another probe of it runs.
    """
    with alone(f"probe of mirror {mirror_id}", wait=False):
        mirror = find(mirror_id)
        known = _known_files(mirror) if mirror else ()
        if mirror is None or not known:
            return False
        policy = Policy.of(settings.COMMONFARM)
        probed = ask(mirror.http, mirror.https, known, policy)
        try:
            addresses = {one for url in bases(mirror) for one in addresses_of(url, policy)}
        except OSError:
            return _write_down(mirror, probed, mirror.local, mirror.country_problem, now)
        where = elsewhere(mirror.country, addresses, settings.COMMONFARM.places)
        return _write_down(mirror, probed, all_loopback(addresses), where, now)


def _known_files(mirror: Mirror) -> Sequence[Wanted]:
    """Return some files to ask for: that it was seen to have, else any of the tree."""
    current = TreeFile.objects.filter(
        Q(until_revision=None), tree=mirror.tree, changes=False, size__gt=0
    )
    some = bits_of(mirror).some(4 * KNOWN_FILES, secrets.SystemRandom())
    found = current.filter(pk__in=some)[:KNOWN_FILES]
    if not found:
        below = f"{mirror.subtree}/" if mirror.subtree else ""
        found = current.filter(path__startswith=below).order_by("pk")[:KNOWN_FILES]
    return [Wanted(path_there(mirror, file.path), file.size) for file in found]


def _write_down(mirror: Mirror, probed: Probed, local: bool, where: str, now: datetime) -> bool:
    answers, problems, latencies = Answers(0), {}, []
    for name, outcome in probed.outcomes():
        if outcome.problem is None:
            answers |= _BITS[name]
            latencies.append(outcome.latency_seconds)
        elif outcome.problem.code != Code.NO_ROUTE:  # that says something of us, not of it
            problems[name] = outcome.problem.text
    with transaction.atomic():
        row = Mirror.objects.select_for_update(of=("self",)).get(pk=mirror.pk)
        if (row.http, row.https) != (mirror.http, mirror.https):
            return False  # its addresses were changed meanwhile: this was another server
        Probe.objects.create(
            mirror=row,
            at=now,
            answers=int(answers),
            problems=problems,
            seconds=min(latencies, default=None),
        )
        believed = _believed(row, now)
        last = row.probe_problem or "it does not answer"
        problem = "" if believed else _gravest(probed, answered=bool(answers)) or last
        before = (row.answers, row.local, row.probed_at is None, row.probe_problem)
        if row.answers and not believed:
            record(MirrorWentDown(row.subject, problem=problem), who=WHO)
        if believed and not row.answers:
            record(alarms.MirrorAnswers(row.subject, by=_names(believed)), who=WHO)
        row.answers, row.local, row.probed_at, row.probe_problem = believed, local, now, problem
        row.country_problem = where
        told = ["answers", "local", "probed_at", "probe_problem", "country_problem"]
        row.save(update_fields=told)
    return before != (row.answers, row.local, False, row.probe_problem)


def _gravest(probed: Probed, *, answered: bool) -> str:
    """Return what is wrong with the mirror as a whole, empty where that is nothing."""
    found = [one.problem for _, one in probed.outcomes() if one.problem is not None]
    grave = [one.text for one in found if one.code not in _OF_A_FAMILY]
    for code in () if answered else _OF_A_FAMILY:
        grave += [one.text for one in found if one.code == code]
    return next(iter(grave), "")


def _believed(mirror: Mirror, now: datetime) -> int:
    """Return by which ways clients are sent there, flapping ones left out."""
    recent = mirror.probes.filter(at__gt=now - REMEMBERED).order_by("at", "pk")
    history = list(recent.values_list("at", "answers", "problems"))
    believed = 0
    for name, bit in _BITS.items():
        beats = [
            Beat(at, bool(answers & bit))
            for at, answers, problems in history
            if answers & bit or name in problems
        ]
        if beats and damped(beats, now).up:
            believed |= bit
    return believed


def _names(answers: int) -> list[str]:
    return [name for name, bit in _BITS.items() if answers & bit]
