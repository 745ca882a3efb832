"""A builder's row changes by named methods, and says why it gets no job."""

from __future__ import annotations

from datetime import timedelta

import pytest

from commonfarm.estate.interface import Pool
from commonfarm.fleet.interface import Builder
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import BadInputError, NotFoundError
from tests.fleet.conftest import NOW, enrolled, facts


def code(builder: Builder, generation: int = 1) -> str:
    reason = builder.refusal(generation)
    return reason.code if reason else ""


@pytest.fixture
def builder(pool: Pool) -> Builder:
    return enrolled(pool)[0]


def lease(builder: Builder) -> None:
    """Do what the scheduler's transaction does to the row."""
    Builder.objects.filter(pk=builder.pk).update(cleanliness="dirty", running=1)
    builder.refresh_from_db()


def test_a_new_builder_is_ready(builder: Builder) -> None:
    assert code(builder) == ""
    assert builder.state(NOW) == "ready"


def test_a_cordoned_builder_says_why_and_what_lifts_it(builder: Builder) -> None:
    builder.cordon("new disk", who="user:anna", now=NOW)
    reason = builder.refusal(1)
    assert reason is not None
    assert str(reason) == "b1 is cordoned: new disk; commonfarm fleet uncordon b1"
    assert builder.state(NOW) == "cordoned"
    builder.uncordon(who="user:anna")
    assert code(builder) == ""


def test_cordon_and_uncordon_are_recorded_once_each(builder: Builder) -> None:

    for _ in range(2):
        builder.cordon("new disk", who="user:anna", now=NOW)
    builder.cordon("no, the fan", who="user:ben", now=NOW + timedelta(hours=1))
    assert builder.cordoned_at == NOW
    for _ in range(2):
        builder.uncordon(who="user:anna")
    said = Entry.objects.filter(what__contains="cordon").order_by("id")
    assert [(entry.what, entry.who, entry.subject, entry.why) for entry in said] == [
        ("builder cordoned", "user:anna", "builder:b1@1", "new disk"),
        ("builder cordoned", "user:ben", "builder:b1@1", "no, the fan"),
        ("builder uncordoned", "user:anna", "builder:b1@1", ""),
    ]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "two\nlines", "nul\0"])
def test_a_cordon_needs_a_reason(builder: Builder, reason: str) -> None:
    with pytest.raises(BadInputError, match="say in a few words why"):
        builder.cordon(reason, who="user:anna", now=NOW)
    assert Builder.named("b1").cordoned_at is None


def test_a_builder_with_a_job_is_busy_then_dirty_then_ready(builder: Builder) -> None:
    lease(builder)
    assert (code(builder), builder.state(NOW)) == ("busy", "building")
    assert not builder.mark_clean(1), "one that runs a job is not clean, whatever it says"
    builder.job_ended(1)
    builder.refresh_from_db()
    assert (code(builder), builder.state(NOW)) == ("dirty", "cleaning")
    assert builder.mark_clean(1)
    assert not builder.mark_clean(1), "the second time is no news"
    builder.refresh_from_db()
    assert code(builder) == ""
    assert Entry.objects.filter(what="builder cleaned").count() == 1


def test_a_job_that_ended_twice_is_counted_once(builder: Builder) -> None:
    lease(builder)
    builder.job_ended(1)
    builder.job_ended(1)
    builder.refresh_from_db()
    assert builder.running == 0


def test_a_past_generation_changes_nothing(pool: Pool, ended: list[tuple[str, int]]) -> None:
    enrolled(pool)
    builder, _ = enrolled(pool)
    lease(builder)
    builder.job_ended(1)
    assert not builder.mark_clean(1)
    builder.refresh_from_db()
    assert (builder.running, builder.cleanliness) == (1, "dirty")
    assert code(builder, 1) == "generation-over"


def test_a_builder_not_heard_of_is_silent(builder: Builder) -> None:
    later = NOW + timedelta(seconds=91)
    assert builder.state(later) == "silent"
    builder.seen(later, facts(cores=16, features=["b", "a", "b"]))
    again = Builder.named("b1")
    assert again.state(later) == "ready"
    assert (again.cores, again.features, again.facts["cores"]) == (16, ["a", "b"], 16)


def test_what_a_builder_says_later_does_not_change_its_architecture(builder: Builder) -> None:
    builder.seen(NOW, facts(architecture="riscv64"))
    again = Builder.named("b1")
    assert again.architecture == "amd64"
    assert again.facts["architecture"] == "riscv64", "it is shown as a claim all the same"


def test_hearing_of_a_builder_does_not_undo_a_cordon_made_meanwhile(builder: Builder) -> None:
    Builder.named("b1").cordon("new disk", who="user:anna", now=NOW)
    builder.seen(NOW, facts())
    assert Builder.named("b1").cordon_reason == "new disk"


def test_facts_out_of_bounds_are_not_kept(builder: Builder) -> None:
    with pytest.raises(BadInputError, match="cores"):
        builder.seen(NOW, facts(cores=-1))
    assert Builder.named("b1").cores == 4


def test_an_unknown_builder_is_not_found(pool: Pool) -> None:
    with pytest.raises(NotFoundError, match="there is no builder 'b9'"):
        Builder.named("b9")
