"""A small real world for the archive's tests: tiny packages, a project, a signer process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from commonfarm.archive import interface as archive
from commonfarm.estate.interface import Project, ReleaseTree, Repository, Target
from commonfarm.store.interface import put_file


def make_deb(
    folder: Path, package: str, version: str, architecture: str, *, body: str = "x", more: str = ""
) -> Path:
    """Build a real .deb with one file in it."""
    root = folder / f"{package}-{version.replace(':', '_')}-{architecture}-{abs(hash(body))}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share/doc" / package).mkdir(parents=True)
    (root / "usr/share/doc" / package / "body").write_text(body)
    control = (
        f"Package: {package}\nVersion: {version}\nArchitecture: {architecture}\n"
        f"Maintainer: A <a@example.org>\nDescription: a test\n of packages\n"
    )
    (root / "DEBIAN/control").write_text(control + (f"{more}\n" if more else ""))
    name = f"{package}_{version.partition(':')[2] or version}_{architecture}.deb"
    (folder / "out").mkdir(exist_ok=True)
    out = folder / "out" / name
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", root, out],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "SOURCE_DATE_EPOCH": "1"},
    )
    return out


class World:
    """A tree with one repository, one target and one project."""

    def __init__(self, suite: str = "bookworm", architecture: str = "amd64") -> None:
        self.tree = ReleaseTree.objects.create(name="main")
        self.repository = Repository.objects.create(
            name="demo", tree=self.tree, path="demo", valid_seconds=7 * 86400
        )
        self.target = Target.objects.create(
            name=f"{suite}-{architecture}",
            declared_suite=suite,
            suite=suite,
            components=["main"],
            architecture=architecture,
        )
        self.project = Project.objects.create(name="demo", repository=self.repository)
        self.project.targets.add(self.target)

    def add(self, producer: str, *files: Path) -> list[archive.Verdict]:
        """Store files and add them as what `producer` built."""
        new = [archive.NewArtifact(one.name, put_file(one).sha256) for one in files]
        return archive.add_build(
            producer, self.project, self.target, new, {"job": 1}, who="builder:b@1"
        )
