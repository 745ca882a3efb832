"""What the estate's YAML said when it was last loaded, and which repository it is loaded from.

Rows are written by loading only. What left the YAML is retired, not deleted: what was built and
published under it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Self

from django.db import models, transaction

from commonfarm.estate import events
from commonfarm.journal.interface import record
from commonfarm.lib.errors import NotFoundError, Problem, Reason
from commonfarm.lib.hints import hint
from commonfarm.store.interface import Blob

FETCH_EVERY = timedelta(seconds=20)
"""Much less than the minute in which the worker looks, so that none is left out."""
FETCH_SELDOM = timedelta(hours=1)
JUDGE_AGAIN = timedelta(hours=1)


class Load(models.Model):
    """One loading of the estate: from where, and what it changed.

    `commit` and what its author says of it are empty for a directory that was loaded by hand;
    `passed` are the commits since the load before, newest first, that were not loaded themselves.
    `facts` is what `resolving` made of the files, as JSON, while the load is in force.
    """

    at = models.DateTimeField(auto_now_add=True)
    who = models.CharField(max_length=200)
    origin = models.CharField(max_length=600)
    digest = models.CharField(max_length=64)
    changes = models.JSONField(default=list)
    commit = models.CharField(max_length=64, blank=True)
    title = models.CharField(max_length=200, blank=True)
    author = models.CharField(max_length=200, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    passed = models.JSONField(default=list)
    facts = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.origin} at {self.at}"

    @classmethod
    def in_force(cls) -> Load | None:
        """Return the load whose estate counts now, without its facts."""
        return cls.objects.defer("facts").order_by("-pk").first()


class LoadedFile(models.Model):
    """A file of the estate as it was loaded: the YAML, and the logos that it names."""

    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=255)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["load", "name"], name="one_file_of_a_name_in_a_load")
        ]

    def __str__(self) -> str:
        return self.name


class Following(models.Model):
    """The branch that the estate is loaded from, while there is one; following anew is a new row.

    `tip` is the last commit that was good, `judged_at` when it, or `refused`, was last looked at.
    `refused` is a commit that was not loaded: what is told of it, and its `problems`.
    """

    only = models.BooleanField(default=True, editable=False, unique=True)
    url = models.CharField(max_length=500)
    branch = models.CharField(max_length=200)
    folder = models.CharField(max_length=200, blank=True)
    who = models.CharField(max_length=200)
    since = models.DateTimeField()
    tried_at = models.DateTimeField(null=True, blank=True)
    fetched_at = models.DateTimeField(null=True, blank=True)
    problem = models.JSONField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    tip = models.CharField(max_length=64, blank=True)
    judged_at = models.DateTimeField(null=True, blank=True)
    refused = models.JSONField(null=True, blank=True)

    def __str__(self) -> str:
        inside = f", {self.folder}" if self.folder else ""
        return f"{self.url} ({self.branch}{inside})"

    @classmethod
    def current(cls) -> Following | None:
        """Return what is followed, None while nothing is."""
        return cls.objects.first()

    @classmethod
    @transaction.atomic
    def start(cls, url: str, branch: str, folder: str, *, who: str, now: datetime) -> Following:
        """Follow this branch from now on, as it is now; whatever was followed is no more."""
        cls.objects.select_for_update().delete()
        made = cls.objects.create(url=url, branch=branch, folder=folder, who=who, since=now)
        event = events.EstateFollowed("estate:followed", url, branch, folder)
        record(event, who=who, why=str(made))
        return made

    @classmethod
    @transaction.atomic
    def stop(cls, *, who: str) -> None:
        """Follow nothing any more; NotFoundError where nothing was."""
        found = cls.objects.select_for_update().first()
        if found is None:
            raise NotFoundError(NOT_FOLLOWING)
        found.delete()
        event = events.EstateFollowedNoMore("estate:followed", found.url, found.branch)
        record(event, who=who, why=str(found))

    @classmethod
    def held(cls, following: Following) -> Following | None:
        """Return the row, locked; None where something else was asked for meanwhile."""
        return cls.objects.select_for_update().filter(pk=following.pk).first()

    def is_due(self, now: datetime) -> bool:
        """Say whether to fetch: each minute, and the longer it fails the more seldom."""
        pause = min(FETCH_EVERY * 2 ** min(self.failures, 10), FETCH_SELDOM)
        return self.tried_at is None or now - self.tried_at >= pause

    def is_to_be_judged(self, commit: str, now: datetime) -> bool:
        """Say whether to load a commit: one that is new, and each now and then.

        What `host` stands for, and keyrings, may have changed without a commit.
        """
        last = self.refused["commit"] if self.refused else self.tip
        if commit != last or self.judged_at is None:
            return True
        return now - self.judged_at >= JUDGE_AGAIN

    def was_fetched(self, now: datetime) -> None:
        """Note that the repository was read."""
        self.tried_at = self.fetched_at = now
        self.problem, self.failures = None, 0
        self.save(update_fields=["tried_at", "fetched_at", "problem", "failures"])

    def was_not_fetched(self, reason: Reason, now: datetime, *, who: str) -> None:
        """Note why the repository cannot be read; the first time in a row it is told."""
        if self.problem is None:
            event = events.EstateNotFetched("estate:followed", self.url, str(reason))
            record(event, who=who, why=str(reason))
        self.tried_at, self.problem = now, asdict(reason)
        self.failures += 1
        self.save(update_fields=["tried_at", "problem", "failures"])

    def accept(self, commit: str, now: datetime) -> None:
        """Note that a commit is in force, or changes nothing."""
        self.tip, self.judged_at, self.refused = commit, now, None
        self.save(update_fields=["tip", "judged_at", "refused"])

    def refuse(
        self, commit: str, title: str, problems: Sequence[Problem], now: datetime, *, who: str
    ) -> None:
        """Note that a commit is not loaded, and why; the same problems are told once."""
        refused = {"commit": commit, "title": title, "problems": [asdict(one) for one in problems]}
        if self.refused != refused:
            lines = [str(problem) for problem in problems]
            event = events.EstateNotLoaded("estate:followed", commit, title, lines)
            more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
            record(event, who=who, why=f"commit {commit[:12]}: {lines[0]}{more}")
        self.judged_at, self.refused = now, refused
        self.save(update_fields=["judged_at", "refused"])


NOT_FOLLOWING = Reason(
    "not-following", "the estate follows no repository", "commonfarm estate follow URL"
)


class Answer(models.Model):
    """What the worker answered of an estate on a day: the newest of each kind.

    `document` is JSON; where it failed, `problem` says why instead.
    """

    kind = models.CharField(max_length=30, unique=True)
    load = models.ForeignKey(Load, on_delete=models.CASCADE, related_name="+")
    as_of = models.DateField()
    made_at = models.DateTimeField(auto_now=True)
    document = models.TextField(blank=True)
    problem = models.JSONField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.kind} as of {self.as_of}"


class Declared(models.Model):
    """What every declared thing has: a name of its own, and when it left the estate."""

    name = models.CharField(max_length=100, unique=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the one called `name`; raise NotFoundError that says which names there are."""
        kind = cls._meta.verbose_name
        # PostgreSQL takes no NUL, and no name has a character that cannot be printed.
        found = cls._default_manager.filter(name=name).first() if name.isprintable() else None
        if found is not None and found.retired_at is None:
            return found
        if found is not None:
            when = f"{found.retired_at:%Y-%m-%d}"
            raise NotFoundError(
                Reason("retired", f"the {kind} {name} left the estate on {when}", "name another")
            )
        names = sorted(
            cls._default_manager.filter(retired_at=None).values_list("name", flat=True)[:1000]
        )
        raise NotFoundError(
            Reason(
                f"no-such-{kind}".replace(" ", "-"),
                f"there is no {kind} {name[:100]!r}",
                hint(name, names) or "load an estate: commonfarm estate load DIR",
            )
        )

    def in_use(self) -> bool:
        """Say whether a row of another room refers to this one."""
        return any(
            relation.related_model._base_manager.filter(**{relation.field.name: self}).exists()
            for relation in self._meta.related_objects
            if relation.related_model._meta.app_label != self._meta.app_label
        )


class Pool(Declared):
    """Builders of one architecture, kind and trust."""

    architecture = models.CharField(max_length=20)


class Host(Declared):
    """A machine, physical or virtual."""

    architecture = models.CharField(max_length=20)
    pool = models.ForeignKey(Pool, null=True, blank=True, on_delete=models.PROTECT)


class Target(Declared):
    """What to build for.

    `package_sources` is a list of {"uri", "suite", "components"}: where the buildroot's packages
    come from. `keyring` is the absolute path of the keyring that signs them. `declared_suite` is
    what the YAML says (it may be `host`); `suite` is what it was resolved to.
    """

    declared_suite = models.CharField(max_length=100)
    suite = models.CharField(max_length=100)
    components = models.JSONField(default=list)
    architecture = models.CharField(max_length=20)
    package_sources = models.JSONField(default=list)
    keyring = models.CharField(max_length=500)
    signed_sources_only = models.BooleanField(default=False)


class ReleaseTree(Declared):
    """What users see: a tree of files that is published as a whole.

    `review` says who has to look at a release before it is public: `none`, `any` (a coordinator) or
    `other` (one who did not put it). `changing` are patterns of paths whose bytes may change. An
    adopted tree's files lie in the folder `adopts`, which something else fills.
    `rpm_repositories` maps what dnf asks for, `REPO` or `REPO/ARCH`, to a folder of the tree.
    """

    environment = models.CharField(max_length=100, blank=True)
    promotes_to = models.CharField(max_length=100, blank=True)
    review = models.CharField(max_length=10, default="any")
    origin_only_seconds = models.PositiveIntegerField(default=1800)
    grace_seconds = models.PositiveIntegerField(default=7 * 86400)
    valid_seconds = models.PositiveIntegerField(default=14 * 86400)
    keep_revisions = models.PositiveIntegerField(default=10)
    changing = models.JSONField(default=list)
    adopts = models.CharField(max_length=1000, blank=True)
    rpm_repositories = models.JSONField(default=dict)

    @classmethod
    def locked(cls, pk: int) -> ReleaseTree:
        """Return a tree that nobody else locks until the transaction ends.

        Others may meanwhile add rows that refer to it: who holds a publication and adds such rows
        would else wait for who holds the tree and waits for that publication.
        """
        return cls.objects.select_for_update(no_key=True).get(pk=pk)


class Repository(Declared):
    """A part of a release tree that apt reads, under `path` of the tree.

    It has one distribution per target that is published into it, named as the target's suite.
    """

    tree = models.ForeignKey(ReleaseTree, on_delete=models.PROTECT, related_name="repositories")
    path = models.CharField(max_length=200)
    valid_seconds = models.PositiveIntegerField()


class Project(Declared):
    """Who builds what for which targets, and where the results are published."""

    targets = models.ManyToManyField(Target, related_name="projects")
    repository = models.ForeignKey(Repository, null=True, blank=True, on_delete=models.PROTECT)
