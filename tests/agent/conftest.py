"""One state directory with one base root for all of the agent's tests."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from commonfarm.agent import limits, sandbox
from commonfarm.agent.limits import Means
from commonfarm.agent.protocol import Buildroot, Lease, Limits, PackageSource, SourceFile
from commonfarm.agent.rootfs import BaseRoot, base_root
from commonfarm.agent.state import State

from .fake_hub import FakeHub

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def _host() -> tuple[str, list[PackageSource]]:
    """The host's own Debian: architecture and the first source of packages."""
    architecture = limits.architecture()
    done = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
            "Created-By: Packages",
            "Component: main",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        uri, suite, component = line.split("|")
        if "-" not in suite:
            source = PackageSource(uri.rstrip("/"), suite, [component])
            return architecture, [source]
    pytest.skip("this host's apt names no Debian suite")


@pytest.fixture(scope="session")
def buildroot() -> Buildroot:
    """A buildroot of the host's own release."""
    architecture, sources = _host()
    key = base64.b64encode(KEYRING.read_bytes()).decode()
    return Buildroot(f"{sources[0].suite}-{architecture}", architecture, sources, key)


def _state_directory() -> Path:
    # Not pytest's own: that is 0700, and the sandbox's ids have to pass.
    path = Path(tempfile.mkdtemp(prefix="cf-agent-"))
    path.chmod(0o711)
    return path


@pytest.fixture(scope="session")
def state() -> Iterator[State]:
    """The state directory that has the base root, for tests that do not begin from nothing."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    state = State(_state_directory())
    state.prepare()
    yield state
    sandbox.clean(state, keep=lambda _: False)
    shutil.rmtree(state.root)


@pytest.fixture
def empty_state() -> Iterator[State]:
    """A state directory with nothing in it."""
    path = _state_directory()
    yield State(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def root(state: State, buildroot: Buildroot) -> Iterator[BaseRoot]:
    """The base root, made once."""
    with base_root(state, buildroot, lambda _: None, lambda: None) as found:
        yield found


@pytest.fixture(scope="session")
def means(state: State) -> Means:
    """What this host can enforce."""
    return limits.probe(state.root)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub that listens."""
    with FakeHub() as hub:
        yield hub


LIMITS = Limits(
    memory_bytes=512 * 2**20,
    processes=200,
    disk_bytes=512 * 2**20,
    wall_seconds=300,
    silence_seconds=120,
)

Sourced = tuple[str, str, str, list[SourceFile], dict[str, bytes]]


def described(folder: Path) -> tuple[list[SourceFile], dict[str, bytes]]:
    """The files of a source package as the hub lists them, and their bytes by hash."""
    files, contents = [], {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        files.append(SourceFile(path.name, len(data), sha256))
        contents[sha256] = data
    return files, contents


def _stanza(package: str, architecture: str, more: str) -> str:
    fields = f"Package: {package}\nArchitecture: {architecture}\n{more}"
    return f"\n{fields}Description: a probe\n A probe.\n"


def _packing(package: str) -> str:
    """The lines of a makefile recipe that make one package."""
    folder = f"debian/{package}"
    return (
        f"\tmkdir -p {folder}/DEBIAN {folder}/usr/share/{package}\n"
        f"\techo hello > {folder}/usr/share/{package}/greeting\n"
        f"\tdpkg-gencontrol -p{package} -P{folder}\n"
        f"\tdpkg-deb --root-owner-group --build {folder} ..\n"
    )


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., Path]:
    """Make a real source package whose build runs the given lines of a makefile recipe.

    It makes `probe` for `architecture`, and the packages `indep` for all, which depend on it.
    """

    def make(
        recipe: str = "true",
        depends: str = "",
        more: str = "",
        architecture: str = "any",
        indep: Sequence[str] = (),
    ) -> Path:
        tree = tmp_path / "work" / "probe-1.0"
        debian = tree / "debian"
        (debian / "source").mkdir(parents=True)
        (debian / "source/format").write_text("3.0 (native)\n")
        (debian / "changelog").write_text(
            "probe (1.0) unstable; urgency=low\n\n  * A probe.\n\n"
            " -- A Tester <t@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
        )
        version = "Depends: probe (= ${source:Version})\n"
        (debian / "control").write_text(
            "Source: probe\nMaintainer: A Tester <t@example.org>\nSection: misc\n"
            f"Priority: optional\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n{depends}"
            + _stanza("probe", architecture, "")
            + "".join(_stanza(package, "all", version) for package in indep)
        )
        rules = debian / "rules"
        lines = "".join(f"\t{line}\n" for line in recipe.splitlines())
        packing = {"arch": "", "indep": "".join(map(_packing, indep))}
        packing["indep" if architecture == "all" else "arch"] += _packing("probe")
        rules.write_text(
            "#!/usr/bin/make -f\nbuild build-arch build-indep:\n"
            f"{lines}"
            "clean:\n\trm -rf debian/probe debian/files debian/substvars\n"
            f"binary-indep: build\n{packing['indep']}"
            f"binary-arch: build\n{packing['arch']}"
            f"binary: binary-indep binary-arch\n{more}"
        )
        rules.chmod(0o755)
        done = subprocess.run(
            ["dpkg-source", "-b", tree.name], cwd=tree.parent, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        shutil.rmtree(tree)
        return tree.parent

    return make


@pytest.fixture
def make_lease(buildroot: Buildroot) -> Callable[..., tuple[Lease, dict[str, bytes]]]:
    """Make a lease of the source package in a folder."""

    def make(folder: Path, **changes: object) -> tuple[Lease, dict[str, bytes]]:
        files, contents = described(folder)
        [dsc] = [file.name for file in files if file.name.endswith(".dsc")]
        name, version = dsc.removesuffix(".dsc").split("_")
        values: dict[str, object] = {
            "id": 7,
            "job": 5,
            "deadline_at": "2030-01-01T00:00:00Z",
            "renew_seconds": 0.5,
            "buildroot": buildroot,
            "source_name": name,
            "source_version": version,
            "dsc": dsc,
            "files": files,
            "limits": LIMITS,
            "parallel": 2,
        }
        return Lease(**{**values, **changes}), contents  # type: ignore[arg-type]

    return make
