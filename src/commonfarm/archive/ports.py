"""What the archive needs of the rooms above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import Reason
from commonfarm.lib.ports import Port
from commonfarm.lib.secret import Secret


class TreePublished(Protocol):
    """Told of a revision that users see from now on, in the transaction that records it."""

    def __call__(self, tree: ReleaseTree, revision: int) -> None:
        """Take note."""


class Vouch(Protocol):
    """Says which artifacts were not built as claimed. Read-only: the signer's process calls it.

    `claims` are (producer, SHA-256) pairs. A producer vouches for an artifact when its job ended in
    success, by a lease that ended in success and uploaded these very bytes. Returned are the claims
    that are refused, with the Reason.
    """

    def __call__(self, claims: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Reason]:
        """Return what is refused."""


class RsyncUsers(Protocol):
    """Says which registered mirrors may read what is under embargo, and their passwords."""

    def __call__(self) -> Mapping[str, Mapping[str, Secret]]:
        """Return, by the name of each tree that has any, passwords by the names of mirrors."""


class ReleaseStaged(Protocol):
    """Told of a release under embargo that registered mirrors can fetch from now on, in the
    transaction that records it.
    """

    def __call__(self, tree: ReleaseTree, release_id: int) -> None:
        """Take note."""


release_staged: Port[ReleaseStaged] = Port("archive.release_staged")
rsync_users: Port[RsyncUsers] = Port("archive.rsync_users")
tree_published: Port[TreePublished] = Port("archive.tree_published")
vouch: Port[Vouch] = Port("archive.vouch")
