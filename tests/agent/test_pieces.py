"""The pure parts: what a .changes lists, what apt said, the sandbox's configuration, the log."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from commonfarm.agent import artifacts, limits, oci, packages
from commonfarm.agent.errors import AgentError, BrokenError, FailedError
from commonfarm.agent.log import Log
from commonfarm.agent.protocol import Buildroot, PackageSource, SourceFile
from commonfarm.agent.state import Credential, State

CHANGES = """Format: 1.8
Checksums-Sha1:
 00 5 ignored.deb
Checksums-Sha256:
 {hash} {size} {name}
Files:
 00 5 misc optional ignored.deb
"""
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def built(folder: Path, name: str = "a.deb", size: object = 5, digest: str = HELLO) -> Path:
    build = folder / "build"
    build.mkdir()
    (folder / "output").mkdir()
    (build / "a.changes").write_text(CHANGES.format(hash=digest, size=size, name=name))
    return build


def test_artifacts_are_what_changes_lists(tmp_path: Path) -> None:
    build = built(tmp_path)
    (build / "a.deb").write_bytes(b"hello")
    (build / "unlisted").write_bytes(b"x")
    found = artifacts.collect(build, tmp_path / "output", 2**20)
    assert [file.name for file in found] == ["a.changes", "a.deb"]
    assert found[1] == SourceFile("a.deb", 5, HELLO)
    assert (tmp_path / "output/a.deb").read_bytes() == b"hello"
    assert not (tmp_path / "output/unlisted").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    build = built(tmp_path)
    (tmp_path / "secret").write_bytes(b"hello")
    (build / "a.deb").symlink_to(tmp_path / "secret")
    with pytest.raises(FailedError, match="Too many levels of symbolic links"):
        artifacts.collect(build, tmp_path / "output", 2**20)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    build = built(tmp_path)
    os.mkfifo(build / "a.deb")
    with pytest.raises(FailedError, match="not a regular file"):
        artifacts.collect(build, tmp_path / "output", 2**20)


def test_a_sparse_giant_is_not_copied(tmp_path: Path) -> None:
    build = built(tmp_path, size=2**40)
    with (build / "a.deb").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(FailedError, match="more than the"):
        artifacts.collect(build, tmp_path / "output", 2**20)


@pytest.mark.parametrize("name", ["../a.deb", "/etc/passwd", ".a", "a/b", "ä.deb"])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FailedError, match="not a plain file name"):
        artifacts.collect(built(tmp_path, name), tmp_path / "output", 2**20)


def test_a_lie_about_a_hash_is_found(tmp_path: Path) -> None:
    build = built(tmp_path, digest="0" * 64)
    (build / "a.deb").write_bytes(b"hello")
    with pytest.raises(FailedError, match=r"not what a\.changes says"):
        artifacts.collect(build, tmp_path / "output", 2**20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Format: 1.8\n", "lists no files"),
        ("Checksums-Sha256:\n 00 -5 a\n", "no checksum"),
        ("Checksums-Sha256:\n 00 ² a\n", "no checksum"),
        ("Checksums-Sha256:\n 00 5\n", "no checksum"),
        ("Checksums-Sha256:\n 00 5 a\n 00 5 a\n", "twice"),
    ],
)
def test_a_malformed_changes_is_refused(text: str, reason: str) -> None:
    with pytest.raises(FailedError, match=reason):
        artifacts.listed(text)


def test_more_files_than_a_hub_takes_are_refused(tmp_path: Path) -> None:
    build = built(tmp_path)
    lines = "".join(f" {HELLO} 5 {number}.deb\n" for number in range(1000))
    (build / "a.changes").write_text(f"Checksums-Sha256:\n{lines}")
    with pytest.raises(FailedError, match="made 1001 files, more than the 1000"):
        artifacts.collect(build, tmp_path / "output", 2**20)


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_one_changes(tmp_path: Path, count: int) -> None:
    for n in range(count):
        (tmp_path / f"{n}.changes").touch()
    with pytest.raises(FailedError, match=f"{count} .changes"):
        artifacts.collect(tmp_path, tmp_path, 1)


def buildroot(**changes: str) -> Buildroot:
    values = {"uri": "http://m/debian", "suite": "s", "component": "main", "architecture": "amd64"}
    values.update(changes)
    source = PackageSource(values["uri"], values["suite"], [values["component"]])
    return Buildroot("t-amd64", values["architecture"], [source], "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uri", "http://m/debian main\ndeb http://evil"),
        ("uri", "file:///etc"),
        ("uri", "http://m/../x"),
        ("suite", "s [trusted=yes]"),
        ("suite", ""),
        ("component", "main]"),
        ("architecture", 'amd64"; APT::x "'),
    ],
)
def test_a_buildroot_that_apt_would_misread_is_refused(name: str, value: str) -> None:
    packages.check_buildroot(buildroot())
    with pytest.raises(BrokenError, match="not allowed"):
        packages.check_buildroot(buildroot(**{name: value}))


def test_what_apt_simulates_is_read() -> None:
    said = (
        "NOTE: This is only a simulation!\n"
        "Inst libfoo [1.0] (1:2.0~rc1-1 Debian:12/stable [amd64])\n"
        "Inst m4 (1.4.19-3 Debian:12.9/stable, Debian-Security:12/stable-security [amd64]) []\n"
        "Inst po-debconf:amd64 (1.0.21+nmu1 Debian:12.9/stable [all])\n"
        "Remv bar [2.0]\n"
        "Conf m4 (1.4.19-3 Debian:12.9/stable [amd64])\n"
    )
    assert packages._solution(said) == packages.Solution(
        [
            "libfoo_1%3a2.0~rc1-1_amd64.deb",
            "m4_1.4.19-3_amd64.deb",
            "po-debconf_1.0.21+nmu1_all.deb",
        ],
        ["bar"],
    )


def test_installed_packages_are_listed_and_hashed() -> None:
    status = (
        "Package: b\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
        "Description: x\n Status: not this\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
        "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2\n"
    )
    assert packages.installed(status) == ["a 1:2 amd64", "b 1 all"]
    assert packages.digest(["a"]) == (
        "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"
    )


@pytest.mark.parametrize("rest", ["", "Package: a\nVersion: 1\n", "Package: \0\nVersion: 1\n"])
def test_a_package_list_that_dpkg_would_not_write_is_refused(rest: str) -> None:
    with pytest.raises(FailedError, match="without name, version or architecture"):
        packages.installed(f"Status: install ok installed\n{rest}")


@pytest.fixture
def dpkg(tmp_path: Path) -> Path:
    folder = tmp_path / "root/var/lib/dpkg"
    folder.mkdir(parents=True)
    return folder


def test_the_package_list_of_a_root_is_read(tmp_path: Path, dpkg: Path) -> None:
    (dpkg / "status").write_text("Package: a\n")
    assert artifacts.status(tmp_path / "root") == "Package: a\n"


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (os.mkfifo, "not a regular file"),
        (lambda status: status.symlink_to("/dev/zero"), "symbolic links"),
        (lambda status: status.symlink_to("/etc/hostname"), "symbolic links"),
        (lambda status: None, "No such file"),
        (_sparse, "more than 67108864 bytes"),
    ],
)
def test_a_package_list_that_is_no_plain_file_is_refused(
    tmp_path: Path, dpkg: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(dpkg / "status")
    with pytest.raises(FailedError, match=reason):
        artifacts.status(tmp_path / "root")


def test_no_link_on_the_way_to_the_package_list_is_followed(tmp_path: Path, dpkg: Path) -> None:
    (dpkg / "status").touch()
    elsewhere = tmp_path / "elsewhere"
    dpkg.parent.rename(elsewhere)
    dpkg.parent.symlink_to(elsewhere)
    with pytest.raises(FailedError, match="lib on the way"):
        artifacts.status(tmp_path / "root")


def test_only_proxies_and_trust_are_taken_from_the_host() -> None:
    def taken(line: str) -> bool:
        return packages._HOST_SETTING.fullmatch(line) is not None

    assert taken('Acquire::http::Proxy "http://proxy:3128/";')
    assert taken('Acquire::https::Proxy::deb.example.org "DIRECT";')
    assert taken('Acquire::https::CAInfo "/etc/ssl/own.pem";')
    assert not taken('Acquire::Check-Date "false";')
    assert not taken('Acquire::https::Verify-Peer "false";')
    assert not taken('DPkg::Post-Invoke:: "rm -rf /";')
    assert not taken('Acquire::http::Proxy-Auto-Detect "/bin/x";')


def test_a_builder_has_no_capability_and_a_network_of_its_own() -> None:
    asked = oci.Enforced("/c/x", 2**30, 2**30, 100)
    step = oci.Step("build", ["true"], directory="/build", read_only={"/in": "/out"})
    config = oci.configuration("/root", step, asked, ["init"], "x86_64")
    process, linux = config["process"], config["linux"]
    assert process["args"] == ["init", "true"]
    assert process["user"] == {"uid": 1000, "gid": 1000}
    assert set(map(tuple, process["capabilities"].values())) == {()}
    assert process["noNewPrivileges"] is True
    assert {n["type"] for n in linux["namespaces"]} >= {"user", "network", "pid", "mount", "ipc"}
    assert not any("path" in namespace for namespace in linux["namespaces"])
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 0x70000000, "size": 65536}]
    assert linux["resources"] == {
        "memory": {"limit": 2**30, "swap": 2**30},
        "pids": {"limit": 100},
    }
    [bind] = [m for m in config["mounts"] if m["destination"] == "/in"]
    assert "ro" in bind["options"]
    assert not any(m["destination"].startswith("/sys") for m in config["mounts"])


def test_rlimits_stand_in_for_cgroups() -> None:
    asked = oci.Enforced("", None, None, None, 2**30, 100)
    config = oci.configuration("/root", oci.Step("s", ["true"], as_root=True), asked, [])
    assert config["linux"]["resources"] == {}
    assert "cgroupsPath" not in config["linux"]
    assert {"type": "RLIMIT_NPROC", "soft": 100, "hard": 100} in config["process"]["rlimits"]
    assert config["process"]["args"] == ["prlimit", "--as=1073741824", "--", "true"]
    assert "CAP_SYS_ADMIN" not in config["process"]["capabilities"]["bounding"]


@pytest.mark.parametrize(
    ("mountinfo", "found"),
    [
        (
            "30 1 0:1 / /c/memory rw - cgroup cgroup rw,memory",
            limits.Hierarchy(1, Path("/c/memory")),
        ),
        ("30 1 0:1 / /c/pids rw shared:1 - cgroup cgroup rw,pids", None),
        ("30 1 0:1 / /nowhere rw - cgroup2 cgroup rw,nsdelegate", None),
    ],
)
def test_a_controller_is_found_where_it_is_mounted(
    mountinfo: str, found: limits.Hierarchy | None
) -> None:
    assert limits.hierarchy("memory", mountinfo) == found


def test_a_controller_of_the_unified_hierarchy_is_found(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    mountinfo = f"30 1 0:1 / {tmp_path} rw - cgroup2 cgroup rw"
    assert limits.hierarchy("memory", mountinfo) == limits.Hierarchy(2, tmp_path)
    assert limits.hierarchy("devices", mountinfo) is None


def test_a_log_ends_at_its_bound(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", 200)
    for _ in range(20):
        log.write(b"0123456789\n")
    log.heading("more")
    text = (tmp_path / "log").read_bytes()
    assert len(text) == log.size == 200
    assert text.endswith(b"at its limit of 200 bytes; the build goes on\n")


def test_a_credential_is_kept_from_others_and_not_printed(empty_state: State) -> None:
    empty_state.prepare()
    credential = Credential("https://h", ["https://h:1"], "b7", 3, "very-secret")
    empty_state.save_credential(credential)
    assert empty_state.credential() == credential
    assert empty_state.credential_file.stat().st_mode & 0o777 == 0o600
    assert "very-secret" not in repr(credential)


def test_a_state_directory_that_builds_could_not_pass_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(AgentError, match="chmod o\\+x"):
        State(closed / "state").prepare()
    with pytest.raises(AgentError, match="characters"):
        State(tmp_path / "a,lowerdir=b").prepare()


def test_two_agents_do_not_share_a_state_directory(empty_state: State) -> None:
    with empty_state.locked(), pytest.raises(AgentError, match="another agent"):
        with State(empty_state.root).locked():
            pass


def test_an_agent_without_enrolment_says_what_to_do(empty_state: State) -> None:
    with pytest.raises(AgentError, match="not enrolled; ask a coordinator"):
        empty_state.credential()
    empty_state.prepare()
    empty_state.credential_file.write_text("{")
    with pytest.raises(AgentError, match="damaged"):
        empty_state.credential()
