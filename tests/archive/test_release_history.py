"""Whatever is published, withdrawn and rolled back, in any order: the tree is what it has to be."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.archive.models import Release
from commonfarm.archive.releases import going_public
from commonfarm.archive.trees import aliases_of, current_revision
from commonfarm.lib.errors import BadInputError, RefusedError
from tests.archive.releases import Releases, content

FILES = st.dictionaries(
    st.sampled_from(["a", "b", "v/c", "v/d", "news"]), st.sampled_from("12"), min_size=1, max_size=4
)
LINKS = st.dictionaries(st.sampled_from(["l", "m"]), st.sampled_from(["a", "v", "news"]))
STEPS = st.one_of(
    st.tuples(st.just("publish"), FILES, LINKS),
    st.tuples(st.just("withdraw"), st.integers(0, 4), st.booleans()),
    st.tuples(st.just("rollback"), st.integers(1, 6), st.none()),
)


class Model:
    """What a person expects: public releases in the order of their publication."""

    def __init__(self) -> None:
        self.once: dict[str, str] = {}
        self.listed: dict[int, dict[str, str]] = {0: {}}

    def takes(self, files: dict[str, str]) -> bool:
        return all(
            path == "news" or self.once.get(path, text) == text for path, text in files.items()
        )


class UndoneError(Exception):
    """Ends an example, so that the next one begins without its rows."""


@pytest.mark.django_db
@settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=2, max_size=6), grace=st.booleans())
def test_any_history(releases: Releases, steps: list[tuple[str, Any, Any]], grace: bool) -> None:
    def example() -> None:
        with transaction.atomic():
            run(releases, steps, grace)
            raise UndoneError

    with pytest.raises(UndoneError):
        example()
    releases.config.published.rename(tempfile.mkdtemp(dir=releases.config.state))
    releases.config.published.mkdir()


def run(releases: Releases, steps: list[tuple[str, Any, Any]], grace: bool) -> None:
    releases.tree.changing = ["news"]
    releases.tree.grace_seconds = 3600 if grace else 0
    releases.tree.save()
    model, public = Model(), list[Release]()
    for what, first, second in steps:
        try:
            if what == "publish":
                links = {path: target for path, target in second.items() if visible(first, target)}
                expected = model.takes(first)
                with transaction.atomic():
                    release = releases.published(first, links)
                assert expected
                model.once |= first
                public.append(release)
                now = releases_listed(releases)
                assert {path: now[path] for path in first} == first
            elif what == "withdraw" and first < len(public):
                release = public[first]
                release.refresh_from_db()
                with transaction.atomic():
                    going_public.withdraw(release, who="user:anna", why="x", at_once=second)
                    releases.work()
                release.refresh_from_db()
                assert release.state == "withdrawn"
                others = Release.objects.filter(state="public")
                kept = {path for one in others for path in paths(one)}
                assert kept >= set(releases_listed(releases)), "a file of no public release"
                if second:
                    assert set(releases.lying()) - set(links_now(releases)) <= (
                        kept | set(leaving(releases))
                    )
            elif what == "rollback":
                with transaction.atomic():
                    going_public.rollback(releases.tree, first, who="user:anna", why="x")
                    releases.work()
                assert releases_listed(releases) == model.listed[first]
        except (BadInputError, RefusedError):
            if what == "publish":
                assert not model.takes(first)
        model.listed[current_revision(releases.tree)] = releases_listed(releases)
        for path in links_now(releases):
            assert (releases.seen / path).exists(), f"{path} leads nowhere"
        lying = content(releases.seen) if releases.seen.exists() else {}
        assert set(releases.listed()) <= lying.keys()


def visible(files: dict[str, str], target: str) -> bool:
    return target in files or any(path.startswith(f"{target}/") for path in files)


def paths(release: Release) -> list[str]:
    return list(release.files.filter(target="").values_list("path", flat=True))


def links_now(releases: Releases) -> list[str]:
    rows = aliases_of(releases.tree, current_revision(releases.tree))
    return list(rows.values_list("path", flat=True))


def leaving(releases: Releases) -> list[str]:
    rows = releases.tree.files.filter(until_revision=None).exclude(leaving_revision=None)
    return list(rows.values_list("path", flat=True))


def releases_listed(releases: Releases) -> dict[str, str]:
    """Return the text of each file that the newest revision consists of."""
    return {path: (releases.seen / path).read_text() for path in releases.listed()}
