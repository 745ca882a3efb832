"""The clients that people have: each fetches through a redirector and real mirrors.

nginx plays the mirrors, one port each. What a client is told may be true or not: a mirror may hold
altered bytes, or be dead. What counts is what the client makes of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commonfarm.redirector.mirror_map import File, Hashes, Mirror
from commonfarm.redirector.selection import changes_in_place
from tests.redirector.world import Edge, file_of, mirror, settle, tree_of

PIECE = 64 * 1024
DATA = os.urandom(5 * PIECE + 17)
NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {home}/t; proxy_temp_path {home}/t; fastcgi_temp_path {home}/t;
  uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  {servers}
}}
"""
SERVER = "server {{ listen 127.0.0.1:{port}; root {home}/{port}; access_log {home}/{port}.log; }}"


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")


@dataclass
class Mirrors:
    """Some mirrors, by their ports."""

    home: Path
    ports: list[int]

    def folder(self, number: int) -> Path:
        return self.home / str(self.ports[number])

    def fill(self, number: int, tree: Path) -> None:
        shutil.copytree(tree, self.folder(number), dirs_exist_ok=True)

    def served(self, number: int) -> list[str]:
        """Return what was fetched from a mirror: the targets answered 200 or 206."""
        settle(self.ports[number])
        lines = (self.home / f"{self.ports[number]}.log").read_text().splitlines()
        fields = [line.split('"') for line in lines]
        return [one[1].split()[1] for one in fields if one[2].split()[0] in ("200", "206")]

    def in_map(self) -> list[Mirror]:
        """Return them for a map: the first is the best, by its country."""
        return [
            mirror(f"m{number}", http=f"http://127.0.0.1:{port}/", local=True, weight=weight)
            for number, (port, weight) in enumerate(zip(self.ports, (1000, 1, 1), strict=True))
        ]


@pytest.fixture
def mirrors(tmp_path: Path) -> Iterator[Mirrors]:
    need("nginx")
    home, ports = tmp_path / "mirrors", []
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    for probe in probes:
        ports.append(probe.getsockname()[1])
        probe.close()
        (home / str(ports[-1])).mkdir(parents=True)
    servers = "\n".join(SERVER.format(port=port, home=home) for port in ports)
    (home / "conf").write_text(NGINX.format(home=home, servers=servers))
    command = ["nginx", "-e", f"{home}/error", "-c", f"{home}/conf"]
    path = f"{os.environ['PATH']}:/usr/sbin"
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env=os.environ | {"PATH": path}
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    for port in ports:
                        socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield Mirrors(home, ports)
        finally:
            process.terminate()


def files_of(tree: Path, *numbers: int) -> dict[str, File]:
    """Return the files below `tree` for a map, all of them on the mirrors of these numbers."""
    found = {}
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            name = f"demo/{path.relative_to(tree)}"
            found[name] = file_of(path.read_bytes(), *numbers, changes=changes_in_place(name))
    return found


def pieces_of(data: bytes) -> Hashes:
    parts = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    pieces = tuple(hashlib.sha256(part).digest() for part in parts)
    return Hashes(hashlib.sha1(data).digest(), hashlib.md5(data).digest(), PIECE, pieces)


@pytest.fixture
def big(edge: Edge, mirrors: Mirrors) -> Edge:
    """A redirector with one file that all mirrors have; the second mirror's is altered."""
    edge.put("demo/big.iso", DATA)
    for number in range(3):
        mirrors.fill(number, edge.published / "demo")
    altered = DATA[: 3 * PIECE] + b"altered" + DATA[3 * PIECE + 7 :]
    (mirrors.folder(1) / "big.iso").write_bytes(altered)
    files = {"demo/big.iso": file_of(DATA, 0, 1, 2)}
    edge.write_map(mirrors.in_map(), files, hashes={"demo/big.iso": pieces_of(DATA)})
    return edge.start()


def run(*command: str, cwd: Path | None = None, fails: bool = False) -> str:
    """Run a client without what this machine configures of it; return what it said."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd or "/nonexistent"), "LC_ALL": "C"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def best_of(edge: Edge, mirrors: Mirrors) -> int:
    """Return the number of the mirror that a request of ours is sent to."""
    port = int(edge.get("/demo/big.iso")[1]["Location"].split(":")[2].partition("/")[0])
    return mirrors.ports.index(port)


def test_curl_follows_goes_on_and_asks_for_parts(
    big: Edge, mirrors: Mirrors, tmp_path: Path
) -> None:
    best = best_of(big, mirrors)
    (mirrors.folder(best) / "big.iso").write_bytes(DATA)
    target, url = tmp_path / "big.iso", f"{big.url}/demo/big.iso"
    run("curl", "-q", "-sSfL", "-o", str(target), url)
    assert target.read_bytes() == DATA
    target.write_bytes(DATA[:1000])
    run("curl", "-q", "-sSfL", "-C", "-", "-o", str(target), url)
    assert target.read_bytes() == DATA
    run("curl", "-q", "-sSfL", "-r", "5-9", "-o", str(target), url)
    assert target.read_bytes() == DATA[5:10]
    assert mirrors.served(best) == ["/big.iso"] * 3


def test_wget2_fetches_by_the_metalink_and_finds_altered_bytes_out(
    big: Edge, mirrors: Mirrors, tmp_path: Path
) -> None:
    """Its `Host` has no port: at another than 80 our address has to be configured."""
    need("wget2")
    big.stop()
    (big.home / "log").unlink()
    big.start("--public", f"http://127.0.0.1:{big.port}", port=big.port)
    target = tmp_path / "got"
    target.mkdir()
    run("wget2", "--no-config", "--no-robots", "--tries=2", f"{big.url}/demo/big.iso", cwd=target)
    assert (target / "big.iso").read_bytes() == DATA


def test_aria2_fetches_by_the_metalink_from_several_and_finds_altered_bytes_out(
    big: Edge, mirrors: Mirrors, tmp_path: Path
) -> None:
    need("aria2c")
    target = tmp_path / "got"
    target.mkdir()
    run("aria2c", "--no-conf", "--split=3", "--min-split-size=1M", "--allow-overwrite=true",
        f"{big.url}/demo/big.iso", cwd=target)  # fmt: skip
    assert (target / "big.iso").read_bytes() == DATA
    target_two = tmp_path / "by suffix"
    target_two.mkdir()
    run("aria2c", "--no-conf", f"{big.url}/demo/big.iso.meta4", cwd=target_two)
    assert (target_two / "big.iso").read_bytes() == DATA


def test_aria2_checks_what_digest_says_of_a_plain_redirect(
    big: Edge, mirrors: Mirrors, tmp_path: Path
) -> None:
    need("aria2c")
    best = best_of(big, mirrors)
    target = tmp_path / "got"
    target.mkdir()
    command = ["aria2c", "--no-conf", "--follow-metalink=false", "--split=1",
               "--header=Accept: */*", f"{big.url}/demo/big.iso"]  # fmt: skip
    (mirrors.folder(best) / "big.iso").write_bytes(DATA)
    run(*command, cwd=target)
    assert (target / "big.iso").read_bytes() == DATA
    shutil.rmtree(target)
    target.mkdir()
    for number in range(3):
        (mirrors.folder(number) / "big.iso").write_bytes(b"x" * len(DATA))
    assert "hecksum" in run(*command, cwd=target, fails=True)


@pytest.fixture
def debian(edge: Edge, mirrors: Mirrors, tmp_path: Path) -> Edge:
    """A redirector before a Debian repository with one package, which all mirrors have."""
    need("dpkg-deb", "dpkg-scanpackages")
    package, tree = tmp_path / "package", edge.published / "demo"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/share/hello").mkdir(parents=True)
    (package / "usr/share/hello/file").write_text("hello\n")
    (package / "DEBIAN/control").write_text(
        "Package: hello-mirrors\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        "Description: a package\n"
    )
    (tree / "pool").mkdir(parents=True)
    run("dpkg-deb", "--root-owner-group", "--build", str(package), f"{tree}/pool/hello_1_all.deb")
    index = tree / "dists/stable/main/binary-all"
    index.mkdir(parents=True)
    packages = subprocess.run(
        ["dpkg-scanpackages", "pool"], cwd=tree, capture_output=True, check=True
    ).stdout
    (index / "Packages").write_bytes(packages)
    by_hash = index / "by-hash/SHA256" / hashlib.sha256(packages).hexdigest()
    by_hash.parent.mkdir(parents=True)
    by_hash.write_bytes(packages)
    (tree / "dists/stable/Release").write_text(
        "Suite: stable\nCodename: stable\nArchitectures: all\nComponents: main\n"
        "Acquire-By-Hash: yes\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-all/Packages\n"
    )
    for number in range(3):
        mirrors.fill(number, tree)
        for path in (mirrors.folder(number) / "dists").rglob("Release"):
            path.write_text("an older state\n")
    edge.write_map(mirrors.in_map(), files_of(tree, 0, 1, 2))
    return edge.start()


def apt(root: Path, source: str, *arguments: str) -> str:
    """Run apt-get with everything it keeps below `root`, and `source` as its only one."""
    for folder in ("lists/partial", "cache/archives/partial", "dpkg/updates", "dpkg/info", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "dpkg/status").touch()
    (root / "etc/sources.list").write_text(source + "\n")
    options = [
        *("Dir::Etc::SourceList=" + str(root / "etc/sources.list"), "Dir::Etc::SourceParts=-"),
        *("Dir::State::Lists=" + str(root / "lists"), "Dir::Cache=" + str(root / "cache")),
        *("Dir::State::status=" + str(root / "dpkg/status"), "Dir::Etc::Parts=-"),
        *("APT::Architecture=all", "APT::Architectures=all", "APT::Sandbox::User=root"),
        *("Acquire::Languages=none", "Acquire::http::Proxy=DIRECT", "Acquire::Retries=0"),
        *("Acquire::Check-Valid-Until=false", "DPkg::Options::=--root=" + str(root / "root")),
        *("DPkg::Options::=--force-not-root", "DPkg::Options::=--force-architecture"),
        *("Debug::NoLocking=true", "DPkg::Use-Pty=false"),
    ]
    (root / "root/var/lib/dpkg/info").mkdir(parents=True, exist_ok=True)
    (root / "root/var/lib/dpkg/updates").mkdir(parents=True, exist_ok=True)
    (root / "root/var/lib/dpkg/status").touch()
    flags = [flag for option in options for flag in ("-o", option)]
    return run("apt-get", *flags, *arguments)


@pytest.mark.parametrize(
    "source",
    ["{url}/demo", "mirror+{url}/demo.mirrorlist", "mirror+{url}/demo/?mirrorlist"],
    ids=["redirects", "mirror list", "mirror list by query"],
)
def test_apt_updates_and_installs(
    debian: Edge, mirrors: Mirrors, tmp_path: Path, source: str
) -> None:
    root = tmp_path / "apt"
    line = f"deb [trusted=yes] {source.format(url=debian.url)} stable main"
    said = apt(root, line, "update")
    assert "Err:" not in said
    said = apt(root, line, "install", "-y", "--no-install-recommends", "hello-mirrors")
    assert (root / "root/usr/share/hello/file").read_text() == "hello\n", said
    fetched = [target for number in range(3) for target in mirrors.served(number)]
    assert fetched.count("/pool/hello_1_all.deb") == 1
    # What changes in place never comes from a mirror, where it may be of another state.
    assert not any(target.endswith(("Release", "Packages")) for target in fetched)


def test_apt_goes_on_by_its_list_when_mirrors_are_gone(
    debian: Edge, mirrors: Mirrors, tmp_path: Path
) -> None:
    for number in range(3):
        shutil.rmtree(mirrors.folder(number) / "pool")
    line = f"deb [trusted=yes] mirror+{debian.url}/demo.mirrorlist stable main"
    root = tmp_path / "apt"
    apt(root, line, "update")
    debian.write_map([], files_of(debian.published / "demo"), 2)
    debian.wait_for_log("mirror map 2 is in force")
    apt(root, line, "install", "-y", "hello-mirrors")
    assert (root / "root/usr/share/hello/file").exists()


@pytest.fixture
def fedora(edge: Edge, mirrors: Mirrors, tmp_path: Path) -> Edge:
    """A redirector before an rpm repository with one package, which all mirrors have."""
    need("rpmbuild", "createrepo_c")
    tree = edge.published / "demo"
    (tree / "f").mkdir(parents=True)
    (tmp_path / "spec").write_text(
        "Name: hello\nVersion: 1\nRelease: 1\nSummary: a package\nLicense: MIT\nBuildArch: noarch\n"
        "%description\nA package.\n%install\nmkdir -p %{buildroot}/usr/share/hello\n"
        "echo hello > %{buildroot}/usr/share/hello/file\n%files\n/usr/share/hello/file\n"
    )
    run("rpmbuild", "--nodeps", "-bb", "--define", f"_topdir {tmp_path}/rpm",
        "--define", f"_rpmdir {tree}/f", str(tmp_path / "spec"), cwd=tmp_path)  # fmt: skip
    run("createrepo_c", "--quiet", "--no-database", str(tree / "f"))
    for number in range(3):
        mirrors.fill(number, tree)
    repomd = (tree / "f/repodata/repomd.xml").stat()
    edge.write_map(
        mirrors.in_map(),
        files_of(tree, 0, 1, 2),
        trees=[tree_of(repositories={"hello/noarch": "f"})],
        hashes={"demo/f/repodata/repomd.xml": Hashes(modified_at=int(repomd.st_mtime))},
    )
    return edge.start()


RPM_SOURCES = [
    "metalink={url}/metalink?repo=hello&arch=noarch",
    "mirrorlist={url}/mirrorlist?repo=hello&arch=noarch",
    "mirrorlist={url}/demo/f/?mirrorlist",
    "metalink={url}/demo/f/repodata/repomd.xml.metalink",
    "baseurl={url}/demo/f/",
]
RPM_NAMES = ["metalink", "mirrorlist", "list of the folder", "metalink of the file", "redirects"]


def repository(folder: Path, edge: Edge, source: str) -> None:
    folder.mkdir(parents=True)
    (folder / "hello.repo").write_text(
        "[hello]\nname=hello\nenabled=1\ngpgcheck=0\nrepo_gpgcheck=0\n"
        + source.format(url=edge.url)
        + "\n"
    )


def downloaded(mirrors: Mirrors) -> list[str]:
    fetched = [target for number in range(3) for target in mirrors.served(number)]
    return [target for target in fetched if target.endswith(".rpm")]


@pytest.mark.parametrize("source", RPM_SOURCES, ids=RPM_NAMES)
def test_dnf_downloads(fedora: Edge, mirrors: Mirrors, tmp_path: Path, source: str) -> None:
    need("dnf")
    repository(tmp_path / "repos", fedora, source)
    (tmp_path / "dnf.conf").write_text("[main]\nplugins=0\n")
    options = [
        *(f"--installroot={tmp_path}/root", f"--setopt=cachedir={tmp_path}/cache"),
        *(f"--setopt=reposdir={tmp_path}/repos", f"--config={tmp_path}/dnf.conf"),
        *("--releasever=1", "--forcearch=x86_64", "-y"),
    ]
    said = run("dnf", *options, "install", "--downloadonly", "hello", cwd=tmp_path)
    [package] = (tmp_path / "cache").rglob("*.rpm")
    [original] = (fedora.published / "demo/f").rglob("*.rpm")
    assert package.read_bytes() == original.read_bytes(), said
    assert downloaded(mirrors) == [f"/f/noarch/{original.name}"]


@pytest.mark.parametrize("source", RPM_SOURCES, ids=RPM_NAMES)
def test_zypper_refreshes_and_downloads(
    fedora: Edge, mirrors: Mirrors, tmp_path: Path, source: str
) -> None:
    need("zypper")
    root = tmp_path / "root"
    repository(root / "etc/zypp/repos.d", fedora, source)
    zypper = ["zypper", "--root", str(root), "--non-interactive", "--no-gpg-checks"]
    run(*zypper, "refresh", "--force", cwd=tmp_path)
    said = run(*zypper, "install", "--download-only", "hello", cwd=tmp_path)
    [package] = (root / "var/cache/zypp/packages").rglob("*.rpm")
    [original] = (fedora.published / "demo/f").rglob("*.rpm")
    assert package.read_bytes() == original.read_bytes(), said
    # By redirects it fetches parts of it, from all that the answer names.
    assert set(downloaded(mirrors)) == {f"/f/noarch/{original.name}"}
