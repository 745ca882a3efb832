"""Tiny source packages, made by dpkg-source, whose builds do what a test says."""

from __future__ import annotations

import subprocess
from pathlib import Path

_CONTROL = """\
Source: {name}
Section: misc
Priority: optional
Maintainer: Story <story@example.org>
Standards-Version: 4.6.2
Rules-Requires-Root: no

Package: {name}
Architecture: any
Description: package of a story
 Built to see what happens.
"""

_CHANGELOG = """\
{name} ({version}) unstable; urgency=low

  * A version for a story.

 -- Story <story@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""

_RULES = """\
#!/usr/bin/make -f
clean:
build build-arch build-indep:
{body}
binary binary-arch binary-indep: build
	mkdir -p debian/{name}/DEBIAN debian/{name}/usr/share/{name}
{content}
	dpkg-gencontrol -p{name} -Pdebian/{name}
	dpkg-deb --root-owner-group --build debian/{name} ..
"""


def make_source(
    directory: Path,
    name: str,
    *,
    body: tuple[str, ...] = (),
    content: tuple[str, ...] = (),
    version: str = "1.0",
) -> Path:
    """Write the source package `name` into `directory` and return its .dsc.

    `body` are lines of the build step and `content` lines that put files below
    `debian/NAME/usr/share/NAME`, both as make's recipes: `$$` is a dollar sign.
    """
    source = directory / f"{name}-{version}"
    debian = source / "debian"
    (debian / "source").mkdir(parents=True)
    (debian / "source/format").write_text("3.0 (native)\n")
    (debian / "control").write_text(_CONTROL.format(name=name))
    (debian / "changelog").write_text(_CHANGELOG.format(name=name, version=version))
    rules = debian / "rules"
    rules.write_text(
        _RULES.format(
            name=name,
            body="\n".join(f"\t{line}" for line in body),
            content="\n".join(f"\t{line}" for line in content),
        )
    )
    rules.chmod(0o755)
    subprocess.run(
        ["dpkg-source", "--build", source.name], cwd=directory, check=True, capture_output=True
    )
    return directory / f"{name}_{version}.dsc"


def make_slow(directory: Path, name: str, seconds: int) -> Path:
    """Write a source package that builds for `seconds` and prints a line each second."""
    return make_source(
        directory,
        name,
        body=(f"for n in $$(seq {seconds}); do echo building second $$n; sleep 1; done",),
        content=(f"echo slow > debian/{name}/usr/share/{name}/pace",),
    )
