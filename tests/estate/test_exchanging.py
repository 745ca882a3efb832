"""`commonfarm estate export` and `import` as they are typed, with the mistakes people make."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from commonfarm.cli.main import app
from commonfarm.lib.errors import CommonfarmError

ESTATE = """
sites:
  - {name: lab, jump_host: gate}
hosts:
  - {name: gate, site: lab, architecture: amd64, address: 192.0.2.1}
  - {name: web1, site: lab, architecture: amd64, cores: 4, memory: 8 GiB, disk: 1 TB}
  - {name: soon, architecture: amd64, available_from: 2026-06-01}
"""
INVENTORY = "all: {hosts: {box: {}, vm: {vmhost: box, num_cpus: 2, mem_size: 1024, color: red}}}"


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    made = tmp_path / "estate"
    made.mkdir()
    (made / "hosts.yaml").write_text(ESTATE)
    return made


def commonfarm(*arguments: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["estate", *map(str, arguments)], input=answer)


def test_an_export_is_printed_and_what_is_left_out_beside_it(estate: Path) -> None:
    done = commonfarm("export", "known-hosts", estate, "--at", "2026-01-01")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "left out: gate: its keys are not known; write its `ssh_host_keys`",
        "left out: web1: its keys are not known; write its `ssh_host_keys`",
    ]


def test_what_is_said_of_many_is_said_once(tmp_path: Path) -> None:
    hosts = "hosts:\n  - {name: 'arm-[01:20]', architecture: armhf}\n"
    (tmp_path / "hosts.yaml").write_text(hosts)
    done = commonfarm("export", "known-hosts", tmp_path)
    why = "its keys are not known; write its `ssh_host_keys`"
    assert done.stderr == f"left out: arm-01 to arm-20 (20): {why}\n"
    shown = json.loads(commonfarm("export", "known-hosts", tmp_path, "--json").stdout)
    assert len(shown["left_out"]) == 20


def test_the_day_and_all_choose_the_hosts(estate: Path) -> None:
    for arguments, hosts in (
        (("--at", "2026-01-01"), ["gate", "web1"]),
        (("--at", "2026-06-01"), ["gate", "soon", "web1"]),
        (("--at", "2026-01-01", "--all"), ["gate", "soon", "web1"]),
    ):
        done = commonfarm("export", "prometheus", estate, *arguments)
        found = [one["labels"]["instance"] for one in json.loads(done.stdout)]
        assert found == hosts
    shown = json.loads(commonfarm("export", "ssh-config", estate, "--json", "--all").stdout)
    assert shown["hosts"] == 3
    assert "Host web1\n    ProxyJump gate\n" in shown["text"]


def test_who_gives_anonymously_stands_in_no_export(estate: Path) -> None:
    text = ESTATE.replace(
        "architecture: amd64, cores", "pledge: secret, architecture: amd64, cores"
    )
    pledge = "{name: secret, sponsor: shy, what: a host, disclosure: anonymous}"
    (estate / "hosts.yaml").write_text(
        f"{text}sponsors:\n  - {{name: shy}}\npledges:\n  - {pledge}\n"
    )
    for kind in ("ansible", "prometheus"):
        done = commonfarm("export", kind, estate)
        assert done.exit_code == 0
        assert "sponsor" in done.stdout
        assert not re.search("shy|secret", done.stdout)


def test_a_zone_has_the_serial_of_the_day(estate: Path) -> None:
    zone = ("--origin", "example.org.", "--name-server", "ns.example.net.")
    done = commonfarm("export", "dns-zone", estate, "--at", "2026-01-31", *zone)
    assert "@ IN SOA ns.example.net. hostmaster.example.org. 2026013100 " in done.stdout
    done = commonfarm("export", "dns-zone", estate, "--serial", "7", *zone)
    assert "hostmaster.example.org. 7 " in done.stdout
    done = commonfarm("export", "dns-zone", estate, *zone, "--reverse", "192.0.2.1/24")
    assert isinstance(done.exception, CommonfarmError)
    assert done.exception.exit_code == 2
    assert "--reverse: 192.0.2.1/24 has host bits set; write one" in str(done.exception)


def test_a_file_that_is_there_is_written_over_only_when_that_is_wanted(
    estate: Path, tmp_path: Path
) -> None:
    (tmp_path / "vms.yaml").write_text(INVENTORY)
    for command in (("export", "ansible", estate), ("import", "ansible", tmp_path / "vms.yaml")):
        out = tmp_path / "out"
        out.write_text("mine")
        for answer in ("", "n\n"):
            done = commonfarm(*command, "--out", out, answer=answer)
            assert done.exit_code == 1
            assert f"Write over {out}?" in done.stderr
            assert out.read_text() == "mine"
        assert commonfarm(*command, "--out", out, answer="y\n").exit_code == 0
        assert out.read_text() != "mine"
        assert commonfarm(*command, "--out", out, "--yes").exit_code == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["estate", "out", "vms.yaml"]


def test_nothing_takes_the_place_of_what_is_no_plain_file(estate: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = commonfarm("export", "prometheus", estate, "--out", pipe)
    assert (done.exit_code, done.stderr) == (0, "")
    with os.fdopen(reader, "rb") as opened:
        assert json.load(opened)[0]["labels"]["instance"] == "gate"
    assert pipe.is_fifo()
    done = commonfarm("export", "prometheus", estate, "--out", estate, "--yes")
    assert str(done.exception) == f"{estate}: cannot be written: Is a directory; name another file"


def test_a_file_that_is_written_over_keeps_its_mode_and_its_links(
    estate: Path, tmp_path: Path
) -> None:
    out, link = tmp_path / "out", tmp_path / "link"
    out.write_text("mine")
    out.chmod(0o600)
    link.symlink_to(out)
    assert commonfarm("export", "prometheus", estate, "--out", link, "--yes").exit_code == 0
    assert link.is_symlink()
    assert out.stat().st_mode & 0o777 == 0o600
    assert json.loads(out.read_text())


def test_an_import_says_what_it_wrote_and_what_not(tmp_path: Path) -> None:
    (tmp_path / "vms.yaml").write_text(INVENTORY)
    out = tmp_path / "new.yaml"
    done = commonfarm("import", "ansible", tmp_path / "vms.yaml", "--out", out)
    assert done.stdout.splitlines()[0] == f"wrote {out}: hosts 1, services 1"
    assert "not carried over: variables of other names: color" in done.stdout
    again = ("import", "ansible", tmp_path / "vms.yaml", "--out", out, "--yes")
    shown = json.loads(commonfarm(*again, "--json", "--capacity-from-load", "1.5").stdout)
    assert shown == {
        "hosts": 1,
        "services": 1,
        "not_carried_over": ["variables of other names: color"],
    }
    assert "cores: 3\n" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "ansible", "{}/none"), "cannot be read: No such file or directory"),
        (("export", "ansible", "{}/estate", "--out", "{}/no/x"), "cannot be written: No such file"),
        (("import", "ganeti", "{}/none", "--out", "{}/x"), "cannot be read: No such file"),
        (("import", "netbox", "{}/estate", "--out", "{}/x"), "cannot be read: Is a directory"),
        (
            ("import", "netbox", "{}/estate/hosts.yaml", "--out", "{}/x", "--disk-unit", "TB"),
            "--disk-unit: 'TB' is no unit of NetBox; write MB or GB",
        ),
    ],
)
def test_mistakes_end_by_2(
    estate: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = commonfarm(*(one.format(tmp_path) for one in arguments))
    assert isinstance(done.exception, CommonfarmError)
    assert done.exception.exit_code == 2
    assert said in str(done.exception)


def test_help_loads_neither_django_nor_a_reader_of_yaml() -> None:
    program = (
        "import sys; sys.argv = ['commonfarm', 'estate', 'export', '--help']\n"
        "from commonfarm.cli.main import app\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'django', 'ortools', 'pygal', 'ruamel'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "LOADED []" in done.stdout, done.stdout + done.stderr
