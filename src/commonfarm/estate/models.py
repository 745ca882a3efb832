"""What the estate's YAML said when it was last loaded.

Rows are written by loading only. What left the YAML is retired, not deleted: what was built and
published under it stays.
"""

from __future__ import annotations

from typing import Self

from django.db import models

from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.lib.hints import hint


class Load(models.Model):
    """One loading of the estate: from where, and what it changed."""

    at = models.DateTimeField(auto_now_add=True)
    who = models.CharField(max_length=200)
    origin = models.CharField(max_length=500)
    digest = models.CharField(max_length=64)
    changes = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{self.origin} at {self.at}"


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
    """What users see: a tree of files that is published as a whole."""


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
