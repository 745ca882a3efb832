"""From the wish to publish to the switch: the steps of a publication.

    PENDING    --assemble-->  ASSEMBLED   the indexes are in the store, and listed
    ASSEMBLED  --sign------>  SIGNED      so are signatures, provenance, and what the manifest says
    SIGNED     --switch---->  PUBLISHED   the manifest is signed, and users see it all

Where the estate changes between the first two, the publication begins again. Each step locks the
publication's row, and is recorded in the transaction that does it. Killed
anywhere, the next worker does the same step again; what it leaves outside of the database (blobs,
a half-made folder) is the same when made again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from django.db import OperationalError, transaction
from django.db.models import Max
from django.utils import timezone
from procrastinate.contrib.django import app
from psycopg.errors import DiskFull

from commonfarm.archive import (
    assembling,
    folders,
    hashing,
    manifest_rows,
    ports,
    rsync_modules,
    signing,
)
from commonfarm.archive.events import Assembled, Outdated, PublicationFailed, Published, Signed
from commonfarm.archive.models import UNFINISHED, Publication, PublicationState
from commonfarm.archive.releases import joining, readable, rows, staging
from commonfarm.archive.trees import WHOLE_EVERY, put_files
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import defer_once
from commonfarm.lib.errors import BadInputError, Reason, RefusedError, UnreachableError
from commonfarm.store.interface import Blob, StoreFullError, put_all

WHO = "process:worker"
AGAIN_SECONDS = 5
MOST_CLOCK_SECONDS = 10
DATABASE_FULL = Reason(
    "database-full", "the disk of the database is full", "free space there and go on"
)
_log = logging.getLogger(__name__)


@app.task(name="archive.publish_tree", queue="default")
def publish_tree(tree_id: int) -> None:
    """Take the unfinished publications of a tree through their steps."""
    publish(ReleaseTree.objects.get(pk=tree_id))


def publish_soon(tree: ReleaseTree, *, in_seconds: int = 0) -> None:
    """Have the tree's publications go on, once the surrounding transaction commits."""
    defer_once(publish_tree, f"publish-tree-{tree.pk}", in_seconds=in_seconds, tree_id=tree.pk)


@app.task(name="archive.mend_folder", queue="default")
def mend_folder(tree_id: int) -> None:
    """Put right what somebody changed in a folder of which a later revision is made."""
    if wrong := folders.mend(ReleaseTree.objects.get(pk=tree_id)):
        _log.warning("%d paths of a past folder were put right, first %s", len(wrong), wrong[0])


def next_publication(tree: ReleaseTree, why: str, *, alone: bool = False) -> Publication:
    """Return the revision that will have what is added now; the tree's row is locked by the caller.

    One that waits takes more in, unless this is to be done `alone` behind it. RefusedError for an
    adopted tree: it consists of what lies in its folder, and not of what is assembled.
    """
    if tree.adopts:
        raise RefusedError(
            Reason(
                "adopted",
                f"the tree {tree.name} is adopted: its files lie in {tree.adopts}",
                f"change them there; commonfarm tree adopt {tree.name} takes them over at once",
            )
        )
    waiting = Publication.objects.filter(tree=tree, state=PublicationState.PENDING)
    publication = waiting.order_by("-revision").select_for_update().first()
    if publication is None or alone:
        last = Publication.objects.filter(tree=tree).aggregate(Max("revision"))["revision__max"]
        publication = Publication.objects.create(tree=tree, revision=(last or 0) + 1, why=why)
    publish_soon(tree)
    return publication


def publish(tree: ReleaseTree) -> None:
    """Take every unfinished publication of `tree` to its end, oldest first.

    What cannot go on now (no signer, no space) keeps its state and says why; it is tried again in
    AGAIN_SECONDS.
    """
    while publication := _oldest(tree):
        try:
            while publication.state in UNFINISHED:
                if publication.state == PublicationState.PENDING:
                    _wait_for_another_second(publication)
                    # Long files take long, and meanwhile others may add to the tree.
                    hashing.hash_ahead(publication)
                advance(publication)
        except (UnreachableError, StoreFullError) as error:
            why = str(error)
        except OperationalError as error:
            if not isinstance(error.__cause__, DiskFull):
                raise
            why = str(DATABASE_FULL)
        else:
            continue
        publication.waits(why)
        publish_soon(tree, in_seconds=AGAIN_SECONDS)
        return


def advance(publication: Publication) -> None:
    """Do the next step of a publication, unless another worker just did it.

    Refused, it begins again if the estate changed meanwhile, and else fails.
    """
    expected = PublicationState(publication.state)
    step = STEPS[expected]
    with transaction.atomic():
        # The same order of locks as in `adding`: the tree first, then its publication.
        if expected is PublicationState.PENDING:
            ReleaseTree.locked(publication.tree_id)
        locked = (
            Publication.objects.select_for_update(of=("self",))
            .select_related("tree")
            .get(pk=publication.pk)
        )
        if locked.state == expected:
            try:
                with transaction.atomic():
                    step(locked)
            except RefusedError as error:
                _refuse(locked, str(error))
        publication.state = locked.state


def _refuse(publication: Publication, why: str) -> None:
    if publication.state == PublicationState.ASSEMBLED and assembling.is_outdated(publication):
        publication.begin_again(
            "the estate has changed since the indexes were written: they are written anew",
            Outdated(publication.label),
            who=WHO,
        )
    else:
        # Readers see that, and it may name files of releases that are not public.
        told = "what is shown of its releases says why" if publication.releases.exists() else why
        publication.fail(told, PublicationFailed(publication.label), who=WHO)
        joining.failed(publication, why)


def _wait_for_another_second(publication: Publication) -> None:
    """Have a revision's InRelease be of a later second than the one that users saw before.

    HTTP dates have no fractions: apt would be told that the newer of two within one second is not
    modified, and would stay with the older. It stays with the later of two by their own date, too,
    so a clock that was put back a little is waited for.
    """
    last = (
        Publication.objects.filter(tree=publication.tree, state=PublicationState.PUBLISHED)
        .order_by("-revision")
        .first()
    )
    if last and last.published_at:
        since = (timezone.now() - last.published_at.replace(microsecond=0)).total_seconds()
        if -MOST_CLOCK_SECONDS <= since < 1:
            time.sleep(1 - since)


def _oldest(tree: ReleaseTree) -> Publication | None:
    with transaction.atomic():
        # Whoever adds now may have found this very task waiting, and left no other: see it.
        ReleaseTree.locked(tree.pk)
        return (
            Publication.objects.filter(tree=tree, state__in=UNFINISHED)
            .select_related("tree")
            .order_by("revision")
            .first()
        )


def _assemble(publication: Publication) -> None:
    try:
        readable.check_published()
    except BadInputError as error:
        raise UnreachableError(Reason("not-readable", str(error))) from None
    if publication.assembled_at is not None:  # and it begins again
        rows.take_back(publication)
    now = timezone.now().replace(microsecond=0)
    publication.assembled_at = now
    joining.hold_back_unfit(publication)
    start = assembling.start(publication)
    files = assembling.new_files(publication, start)
    hashing.hash_all(files.values())
    below = assembling.index_folders(publication) if start.since else [""]
    put_files(publication, files, complete_below=below)
    rows.apply(publication, now)
    publication.reached(
        PublicationState.ASSEMBLED, Assembled(publication.label, len(files)), who=WHO, now=now
    )


def _sign(publication: Publication) -> None:
    new = assembling.new_entries(publication)
    made = signing.sign_new_statements([entry.artifact for entry in new])
    wanted: dict[str, Blob] = {}
    for one in signing.sign_publication(publication.pk):
        signatures = put_all([one.in_release, one.release_gpg])
        wanted[f"{one.folder}/InRelease"], wanted[f"{one.folder}/Release.gpg"] = signatures
    for entry in new:
        if entry.artifact.provenance is not None:
            path = f"{entry.repository.path}/{entry.path}.intoto.jsonl"
            wanted[path] = entry.artifact.provenance
    put_files(publication, wanted)
    hashing.hash_all(wanted.values())
    manifest_rows.write(publication)
    publication.reached(
        PublicationState.SIGNED, Signed(publication.label, made), who=WHO, now=timezone.now()
    )


def _switch(publication: Publication) -> None:
    if publication.manifest_id is not None:
        manifest_rows.place(publication, signing.sign_manifest(publication.pk))
    count = folders.switch(publication)
    rsync_modules.write()  # before mirrors are told: they pull at once
    now = timezone.now()
    publication.reached(
        PublicationState.PUBLISHED, Published(publication.label, count), who=WHO, now=now
    )
    joining.published(publication)
    ports.tree_published.get()(publication.tree, publication.revision)
    if staging.is_wanted(publication.tree):
        staging.stage_soon(publication.tree)
    if publication.revision % WHOLE_EVERY == 0:
        defer_once(mend_folder, f"mend-{publication.tree_id}", tree_id=publication.tree_id)
    keep = 0 if joining.leaves_at_once(publication) else folders.KEEP_FOLDERS
    transaction.on_commit(lambda: folders.prune(publication.tree, keep=keep))


STEPS: Mapping[PublicationState, Callable[[Publication], None]] = {
    PublicationState.PENDING: _assemble,
    PublicationState.ASSEMBLED: _sign,
    PublicationState.SIGNED: _switch,
}
