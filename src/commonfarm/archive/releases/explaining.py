"""Where a release stands, and what would bring it on."""

from __future__ import annotations

from commonfarm.archive.models import Release, ReleaseState
from commonfarm.lib.errors import Reason

REVIEWERS = {
    "any": "a coordinator has to review it",
    "other": "somebody else than {0} has to review it",
}


def explain(release: Release) -> Reason:
    """Return why a release is where it is, and what would lift that."""
    state = ReleaseState(release.state)
    name = release.label
    if release.waits_for_publication:
        return _on_its_way(release)
    if state is ReleaseState.PUBLIC and release.withdrawn_by_publication is not None:
        going = release.withdrawn_by_publication
        what = f"{name} is being withdrawn by {going}, which is {going.state}"
        return Reason("leaves", _with(what, going.problem), "it is tried again by itself")
    if state is ReleaseState.EMBARGOED:
        return _embargoed(release)
    return {
        ReleaseState.OPEN: Reason(
            "open", f"{name} is open: files can be added to it", "close it once it is whole"
        ),
        ReleaseState.UNLISTED: Reason(
            "not-reviewed",
            f"{name} was put by {release.put_by}, and nobody has reviewed it",
            REVIEWERS.get(release.tree.review, REVIEWERS["any"]).format(release.put_by),
        ),
        ReleaseState.REVIEWED: Reason(
            "not-published",
            _with(f"{name} was reviewed by {release.reviewed_by}, and is not public", release.why),
            "publish it, once nothing said speaks against it",
        ),
        ReleaseState.PUBLIC: Reason("public", f"{name} is public since {release.publication}"),
        ReleaseState.REJECTED: Reason(
            "rejected",
            _with(f"{name} was rejected by {release.reviewed_by}", release.why),
            "put a new release",
        ),
        ReleaseState.WITHDRAWN: Reason(
            "withdrawn",
            _with(f"{name} was withdrawn", release.why),
            "put a new release, or roll the tree back",
        ),
    }[state]


def _on_its_way(release: Release) -> Reason:
    publication = release.publication
    assert publication is not None
    what = f"{release.label} is being published by {publication}, which is {publication.state}"
    return Reason("on-its-way", _with(what, publication.problem), "it is tried again by itself")


def _embargoed(release: Release) -> Reason:
    assert release.visible_from is not None
    until = f"{release.visible_from:%Y-%m-%d %H:%M:%S} UTC"
    if release.staged_at is not None:
        what = f"is under embargo until {until}, and registered mirrors can fetch it"
    else:
        what = f"is under embargo until {until}, and is being made ready for registered mirrors"
    return Reason(
        "embargo", f"{release.label} {what}", "publish it without a time to end the embargo now"
    )


def _with(text: str, more: str) -> str:
    return f"{text}: {more}" if more else text
