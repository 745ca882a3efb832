"""Follows a branch of a git repository: what is new there is loaded, or told why it is not.

One step at a time, each from what the tables say, so that a kill between any two is no loss: fetch,
judge the newest commit, load it. The newest alone is loaded; those it passed over are named. A
branch that was rewritten is not loaded, since a protected branch does not go backwards; following
it anew takes it as it is then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial

from django.conf import settings
from django.db import OperationalError, transaction

from commonfarm.estate import load
from commonfarm.estate.files import MOST_FILES, MOST_TOGETHER, SUFFIXES
from commonfarm.estate.git import Clone, Commit, Entry
from commonfarm.estate.hushing import hushed
from commonfarm.estate.kept import NOTHING, facts_of
from commonfarm.estate.models import Following, Load
from commonfarm.estate.reader import Text
from commonfarm.estate.yaml_nodes import MOST_BYTES, parse
from commonfarm.guard.interface import BusyError, alone
from commonfarm.lib.errors import BadInputError, CommonfarmError, Problem, Reason
from commonfarm.lib.units import format_bytes

WHO = "process:worker"
MOST_PROBLEMS = 500
LONGEST_NAME = 100
_log = logging.getLogger(__name__)


def follow(clock: Callable[[], datetime]) -> Load | None:
    """Fetch the branch that is followed if it is time to, and load what is new.

    Returns the load that was made of it, None where there is none.
    """
    following = Following.current()
    if following is None or not following.is_due(clock()):
        return None
    with suppress(BusyError), alone("fetching of the estate", wait=False):
        return _step(following, clock)
    return None


def _step(following: Following, clock: Callable[[], datetime]) -> Load | None:
    clone = Clone(settings.COMMONFARM.followed, following.url, following.branch)
    try:
        tip = clone.fetch()
        (commit,) = clone.newest(tip)
    except CommonfarmError as error:
        _not_fetched(following, error.reason, clock())
        return None
    except OSError as error:
        text = f"the clone of {following.url} cannot be written: {error.strerror}"
        to_do = f"look at the disk of this machine, and at who may write {clone.home}"
        _not_fetched(following, Reason("clone-not-written", text, to_do), clock())
        return None
    with transaction.atomic():
        row = Following.held(following)
        if row is None:
            return None
        row.was_fetched(clock())
    if not row.is_to_be_judged(tip, clock()):
        return None
    try:
        return _load(clone, row, commit, clock)
    except BadInputError as error:
        _log.warning("commit %s of the estate is not loaded:\n%s", tip, error)
        _refuse(following, commit, error.problems, clock())
    except CommonfarmError as error:
        clone.forget()  # It was fetched and cannot be read: what is here is damaged.
        _not_fetched(following, error.reason, clock())
    except OperationalError:
        raise  # The database is away; nothing can be noted there.
    except Exception:
        _log.exception("commit %s of the estate could not be loaded", tip)
        what, to_do = "a fault of ours kept it from being loaded", "report it: the log has the rest"
        _refuse(following, commit, [Problem(following.branch, 0, 0, what, to_do)], clock())
    return None


def _refuse(
    following: Following, commit: Commit, problems: Sequence[Problem], now: datetime
) -> None:
    with transaction.atomic():
        row = Following.held(following)
        if row is not None:
            row.refuse(commit.id, commit.subject, _few(problems), now, who=WHO)


def _few(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return problems, bounded: a file may have as many as it has lines."""
    if len(problems) <= MOST_PROBLEMS:
        return problems
    what = f"{len(problems) - MOST_PROBLEMS} more faults follow"
    last = Problem(problems[MOST_PROBLEMS].file, 0, 0, what, "mend these first")
    return [*problems[:MOST_PROBLEMS], last]


def _not_fetched(following: Following, reason: Reason, now: datetime) -> None:
    _log.warning("the estate's repository is not read: %s", reason)
    with transaction.atomic():
        row = Following.held(following)
        if row is not None:
            row.was_not_fetched(reason, now, who=WHO)


def _load(
    clone: Clone, following: Following, commit: Commit, clock: Callable[[], datetime]
) -> Load | None:
    """Load a commit; raise BadInputError with all that is wrong with it."""
    if following.tip and not clone.descends(commit.id, following.tip):
        raise BadInputError(_rewritten(following, commit))
    # What was good stays good when a pledge ends; the pages tell of that.
    today = clock().date() if commit.id != following.tip else None
    there = given(clone, following, commit, today)
    try:
        prepared = load.prepare(there)
    except BadInputError as error:
        raise BadInputError(*_hushed(error.problems, there)) from None
    with transaction.atomic():
        row = Following.held(following)
        if row is None:
            return None
        made = load.put(prepared, WHO)
        row.accept(commit.id, clock())
    return made


def _hushed(problems: Sequence[Problem], there: load.Given) -> Sequence[Problem]:
    """Return problems as everyone may read them."""
    last = Load.in_force()
    documents = [parse(text.name, text.data) for text in there.texts]
    return hushed(problems, documents, facts_of(last) if last else NOTHING)


def given(
    clone: Clone, following: Following, commit: Commit, today: date | None = None
) -> load.Given:
    """Return the files of a commit; raise BadInputError for what are no plain files."""
    entries = {one.name: one for one in clone.entries(commit.id, following.folder)}
    wanted = [
        one
        for name, one in sorted(entries.items())
        if name.endswith(SUFFIXES) and not name.startswith(".")
    ]
    unnamed = [one for one in wanted if not one.name.isprintable() or len(one.name) > LONGEST_NAME]
    if unnamed:
        raise BadInputError(*map(_unnamed, unnamed))
    problems = [_not_plain(one) for one in wanted if not one.plain]
    problems += [_too_large(one) for one in wanted if one.size > MOST_BYTES]
    where = f"{following.branch}:{following.folder}"
    if not wanted or len(wanted) > MOST_FILES:
        what = f"has {len(wanted)} files *.yaml or *.yml"
        problems.append(Problem(where, 0, 0, what, f"have 1 to {MOST_FILES}"))
    if sum(one.size for one in wanted) > MOST_TOGETHER:
        what = f"the files together are larger than {format_bytes(MOST_TOGETHER)}"
        problems.append(Problem(where, 0, 0, what, "make the estate smaller"))
    if problems:
        raise BadInputError(*problems)
    texts = [Text(one.name, data) for one, data in zip(wanted, clone.read(wanted), strict=True)]
    passed = clone.newest(commit.id, following.tip)[1:] if following.tip else []
    other = partial(_other, clone, entries)
    return load.Given(texts, str(following), other, today, commit, passed)


def _other(clone: Clone, entries: dict[str, Entry], name: str) -> bytes:
    found = entries.get(name)
    if found is None:
        raise ValueError("is not there")
    if not found.plain:
        raise ValueError("is no plain file")
    if found.size > MOST_BYTES:
        raise ValueError("is too large")
    (data,) = clone.read([found])
    return data


def _unnamed(entry: Entry) -> Problem:
    what = f"its name is longer than {LONGEST_NAME} or has characters that cannot be printed"
    return Problem(ascii(entry.name)[:LONGEST_NAME], 0, 0, what, "give it a plain name")


def _not_plain(entry: Entry) -> Problem:
    what = "is not a plain file (nothing is followed out of a repository)"
    return Problem(entry.name, 0, 0, what, "put a plain file there")


def _too_large(entry: Entry) -> Problem:
    what = f"the file is larger than {format_bytes(MOST_BYTES)}"
    return Problem(entry.name, 0, 0, what, "split it into several")


def _rewritten(following: Following, commit: Commit) -> Problem:
    what = (
        f"was rewritten: commit {commit.id[:12]} is no descendant of {following.tip[:12]},"
        " which is in force"
    )
    inside = f" --folder {following.folder}" if following.folder else ""
    anew = f"commonfarm estate follow {following.url} --branch {following.branch}{inside}"
    to_do = f"bring that back, or take the branch as it is now: {anew}"
    return Problem(following.branch, 0, 0, what, to_do)
