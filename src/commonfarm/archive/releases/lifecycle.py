"""From an upload to a release that was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Max

from commonfarm.archive import hashing
from commonfarm.archive.events import ReleaseOpened
from commonfarm.archive.models import Release, ReleaseFile, ReleaseState
from commonfarm.archive.releases import checking, rules
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.ids import hash_token, new_token
from commonfarm.lib.paths import is_sha256
from commonfarm.store.interface import Blob, finished_uploads

BATCH = 10_000
BY_LINK = (ReleaseState.UNLISTED, ReleaseState.REVIEWED)
"""In these states a link shows a release: before, it is not whole; after, it is public or secret.
"""


def open_release(tree: ReleaseTree, *, title: str = "", origin: str = "", who: str) -> Release:
    """Begin a release of `tree`. `origin` says where its files come from, in words or an address.

    RefusedError when the tree takes none.
    """
    refuse_foreign(tree)
    too_long = [
        Problem(name, 0, 0, f"is longer than {most} letters, or has control characters", "shorten")
        for name, text, most in (("title", title, 200), ("origin", origin, 1000))
        if len(text) > most or not text.isprintable()
    ]
    if too_long:
        raise BadInputError(*too_long)
    with transaction.atomic():
        ReleaseTree.locked(tree.pk)
        last = Release.objects.filter(tree=tree).aggregate(Max("number"))["number__max"]
        release = Release.objects.create(
            tree=tree, number=(last or 0) + 1, title=title, origin=origin, put_by=who
        )
        record(ReleaseOpened(release.label), who=who)
    return release


def refuse_foreign(tree: ReleaseTree) -> None:
    """Raise RefusedError when releases are not how files get into `tree`."""
    if tree.adopts:
        raise RefusedError(
            Reason(
                "adopted",
                f"the tree {tree.name} is adopted: its files lie in {tree.adopts}",
                "put them there, or declare a tree of its own in the estate",
            )
        )
    if tree.retired_at is not None:
        raise RefusedError(
            Reason("retired", f"the tree {tree.name} is retired", "declare it in the estate again")
        )


def add_files(release: Release, files: Sequence[tuple[str, str]], *, owner: str | None) -> int:
    """Add files, each a path and the SHA-256 it is stored under; return how many are new.

    `owner` is who uploaded them (as in `store.start_upload`); None for what this very process has
    put into the store. The same file may be added again. BadInputError names every path that
    cannot be, was added with other bytes, or whose bytes did not arrive.
    """
    problems = [one for path, _ in files if (one := rules.path_problem(path))]
    problems += [
        Problem(rules.shown_path(path), 0, 0, "comes with no SHA-256", "name it in lower-case hex")
        for path, sha256 in files
        if not is_sha256(sha256)
    ]
    _raise(problems)
    hashes = {sha256 for _, sha256 in files}
    if owner is None:
        there = set(Blob.objects.filter(sha256__in=hashes).values_list("sha256", flat=True))
    else:
        there = finished_uploads(owner, hashes)
    _raise(
        [
            Problem(path, 0, 0, "was not uploaded in full", "upload it, then add it again")
            for path, sha256 in files
            if sha256 not in there
        ]
    )
    return _add(release, [(path, sha256, "") for path, sha256 in files])


def add_aliases(release: Release, aliases: Sequence[tuple[str, str]]) -> int:
    """Add aliases, each a path and what a symlink there would say; return how many are new.

    Where they lead is judged when the release is closed; the errors are those of `add_files`.
    """
    problems = [one for path, _ in aliases if (one := rules.path_problem(path))]
    problems += [
        Problem(rules.shown_path(path), 0, 0, "is a link that cannot be", "name what it leads to")
        for path, text in aliases
        if not text or len(text) > rules.MOST_PATH_BYTES or not text.isprintable()
    ]
    _raise(problems)
    return _add(release, [(path, None, text) for path, text in aliases])


def _add(release: Release, rows: Sequence[tuple[str, str | None, str]]) -> int:
    with transaction.atomic():
        locked(release, ReleaseState.OPEN, to="add files to it")
        added = 0
        for begin in range(0, len(rows), BATCH):
            added += _insert(release, rows[begin : begin + BATCH])
        count = ReleaseFile.objects.filter(release=release).count()
        if count > rules.MOST_FILES:
            what = f"has {count} files, and {rules.MOST_FILES} are the most"
            raise BadInputError(Problem(release.label, 0, 0, what, "make it several releases"))
    return added


def _insert(release: Release, rows: Sequence[tuple[str, str | None, str]]) -> int:
    """Write rows in one statement; BadInputError names what is there with another content."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO archive_releasefile (release_id, path, blob_id, target)"
            " SELECT %s, path, blob, target"
            " FROM unnest(%s::text[], %s::text[], %s::text[]) AS new (path, blob, target)"
            " ON CONFLICT (release_id, path) DO NOTHING",
            [release.pk, *columns],
        )
        added = int(cursor.rowcount)
        if added == len(rows):
            return added
        cursor.execute(
            "SELECT DISTINCT new.path"
            " FROM unnest(%s::text[], %s::text[], %s::text[]) AS new (path, blob, target)"
            " JOIN archive_releasefile old ON old.release_id = %s AND old.path = new.path"
            " WHERE (old.blob_id, old.target) IS DISTINCT FROM (new.blob, new.target)",
            [*columns, release.pk],
        )
        _raise(
            [
                Problem(path, 0, 0, "is in the release twice, with other bytes", "take one away")
                for (path,) in cursor.fetchall()
            ]
        )
    return added


def close(release: Release, *, who: str, now: datetime) -> str:
    """Let no more be added, and return the token of its unlisted address; only its hash is kept.

    Everything is checked, and BadInputError has all faults at once; the release is open then, as
    before. Where the tree asks for no review it counts as reviewed.
    """
    token = new_token("cf_release")
    with transaction.atomic():
        locked(release, ReleaseState.OPEN, to="close it")
        content = checking.content_of(release)
        if not content.files and not content.texts:
            raise BadInputError(Problem(release.label, 0, 0, "has no files", "add some first"))
        checking.learn_sizes("archive_releasefile", len(content.files))
        _raise(checking.problems(release, content))
        release.close(hash_token(token), who=who)
        hashing.hash_soon(release)
        if release.tree.review == "none":
            release.approve(now, who=who, why="the tree asks for no review")
    return token


def new_link(release: Release, *, who: str) -> str:
    """Return a new token for the unlisted address; the one before leads nowhere from now on."""
    token = new_token("cf_release")
    with transaction.atomic():
        locked(release, *BY_LINK, to="give it another link")
        release.change_link(hash_token(token), who=who)
    return token


def by_link(token: str) -> Release | None:
    """Return the release whose unlisted address has this token, None when there is none now."""
    return (
        Release.objects.filter(link_digest=hash_token(token), state__in=BY_LINK)
        .select_related("tree")
        .first()
    )


def review(release: Release, *, ok: bool, who: str, now: datetime, why: str = "") -> None:
    """Say that a release may be published, or reject it, which needs a `why`.

    RefusedError when it is not its turn, or `who` may not: where the tree asks for another's
    review, who put it is none.
    """
    with transaction.atomic():
        locked(release, ReleaseState.UNLISTED, to="review it")
        if release.tree.review == "other" and who == release.put_by:
            raise RefusedError(
                Reason(
                    "own-release",
                    f"{who} put {release.label}, and the tree wants it looked at by another",
                    "ask somebody else to review it",
                )
            )
        if ok:
            release.approve(now, who=who, why=why)
        else:
            _reject(release, who=who, now=now, why=why)


def reject(release: Release, *, who: str, now: datetime, why: str) -> None:
    """End the way of a release that is not public nor about to be."""
    with transaction.atomic():
        states = ReleaseState.OPEN, ReleaseState.UNLISTED, ReleaseState.REVIEWED
        locked(release, *states, to="reject it")
        if release.waits_for_publication:
            raise on_its_way(release)
        _reject(release, who=who, now=now, why=why)


def _reject(release: Release, *, who: str, now: datetime, why: str) -> None:
    if not why.strip():
        what = "it is rejected without a word why"
        raise BadInputError(Problem(release.label, 0, 0, what, "say what is wrong with it"))
    release.reject(now, who=who, why=why)


def locked(release: Release, *states: ReleaseState, to: str) -> None:
    """Lock the release's row, have it as it is now, and refuse unless it is in one of `states`."""
    Release.objects.select_for_update(of=("self",)).get(pk=release.pk)
    release.refresh_from_db()
    if release.state not in states:
        raise RefusedError(
            Reason(
                "wrong-state",
                f"{release.label} is {release.state}, and has to be"
                f" {' or '.join(one.value for one in states)} to {to}",
                _way_on(release, states),
            )
        )


def _way_on(release: Release, wanted: Sequence[ReleaseState]) -> str:
    """Say how a release gets into a state that is wanted of it, or where to look."""
    which = f"{release.tree.name} {release.number}"
    if release.state == ReleaseState.UNLISTED and ReleaseState.REVIEWED in wanted:
        return f"have it looked at before: commonfarm tree review {which}"
    if release.state in (*BY_LINK, ReleaseState.OPEN) and ReleaseState.PUBLIC in wanted:
        return f"reject it: commonfarm tree review {which} --reject --why …"
    return f"see what was done with it: commonfarm tree show {which}"


def on_its_way(release: Release) -> RefusedError:
    """Return the refusal for a release that a publication has taken."""
    return RefusedError(
        Reason(
            "on-its-way",
            f"{release.label} is being published by {release.publication}",
            "wait until it is public, then withdraw it",
        )
    )


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise BadInputError(*rules.told(problems))
