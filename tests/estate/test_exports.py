"""What we write for other tools is read by these very tools."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from commonfarm.estate.exports import ansible, dns_zone, prometheus
from commonfarm.estate.exports.common import Exported, hosts_there
from commonfarm.estate.exports.known_hosts import known_hosts
from commonfarm.estate.exports.ssh_config import ssh_config
from commonfarm.estate.facts import Facts, Host
from commonfarm.lib.errors import RefusedError
from tests.estate.consumers import ansible_list, consumer, run
from tests.estate.making import TODAY, facts, host, instance, pledge, site

ZONE = dns_zone.Zone("example.org", ("ns.example.org",), "hostmaster.example.org", 2026011500)


def small() -> Facts:
    """A site behind a jump host, another without, and services of several environments."""
    return facts(
        replace(site("phx2"), jump_host="bastion"),
        site("lab"),
        pledge("two", sponsor="nokia"),
        host("bastion", site="phx2", address="192.0.2.1", cores=2, memory="4 GiB"),
        host(
            "arm-001",
            site="phx2",
            rack="r1",
            architecture="arm64",
            address="10.5.124.7",
            traits={"HW_CPU_AARCH64_ASIMD"},
            pledge="two",
            sponsor="nokia",
            cores=16,
            memory="24 GB",
        ),
        host("ns", site="lab", address="2001:db8::53"),
        host("bare", site="lab"),
        host("soon", site="lab", address="192.0.2.9", status="planned"),
        host("wish", site="lab", address="192.0.2.10", status="needed"),
        instance("wiki", on="ns"),
        instance("wiki/db/production", on="ns"),
        instance("wiki/app/testing", on="arm-001"),
        instance("gerrit", on="arm-001"),
    )


def chosen(made: Facts, *, to_come: bool = False) -> list[Host]:
    return hosts_there(made, TODAY, to_come=to_come)


def test_only_what_stands_is_exported_and_with_all_what_is_to_come() -> None:
    made = facts(
        pledge("over", until=date(2026, 1, 1)),
        pledge("later", start=date(2026, 9, 1)),
        host("a"),
        host("gone", pledge="over"),
        host("late", pledge="later"),
        host("shipped", available_from=date(2026, 2, 1)),
        host("planned", status="planned"),
        host("needed", status="needed"),
    )
    assert [one.name for one in chosen(made)] == ["a"]
    assert [one.name for one in chosen(made, to_come=True)] == ["a", "late", "planned", "shipped"]


def test_ansible_reads_hosts_groups_and_variables(tmp_path: Path) -> None:
    made = small()
    file = tmp_path / "inventory.yaml"
    file.write_text(ansible.inventory(made, chosen(made)).text)
    found = ansible_list(file, tmp_path)
    members = {name: sorted(group.get("hosts", [])) for name, group in found.items()}
    assert members["site_phx2"] == ["arm-001", "bastion"]
    assert members["sponsor_nokia"] == members["architecture_arm64"] == ["arm-001"]
    assert members["trait_hw_cpu_aarch64_asimd"] == ["arm-001"]
    assert members["service_wiki_production"] == ["ns"]
    assert found["service_wiki"]["children"] == ["service_wiki_production", "service_wiki_testing"]
    of = found["_meta"]["hostvars"]
    assert set(of) == {"arm-001", "bare", "bastion", "ns"}
    assert of["arm-001"]["ansible_host"] == "10.5.124.7"
    assert of["arm-001"]["ansible_ssh_common_args"] == "-o ProxyJump=192.0.2.1"
    assert of["arm-001"]["commonfarm"]["capacity"] == {"cores": 16, "memory": "24 GB"}
    assert "ansible_ssh_common_args" not in of["bastion"]


def test_ansible_takes_no_text_for_a_template(tmp_path: Path) -> None:
    made = facts(host("a", rack="{{ lookup('pipe', 'touch x') }} {% raw %}"))
    text = ansible.inventory(made, chosen(made)).text
    assert re.search(r"rack: !unsafe \"\{\{ lookup", text)
    (tmp_path / "inventory.yaml").write_text(text)
    of = ansible_list(tmp_path / "inventory.yaml", tmp_path)["_meta"]["hostvars"]
    assert "lookup('pipe'" in json.dumps(of["a"]["commonfarm"]["rack"])


def test_groups_that_would_be_one_are_refused() -> None:
    made = facts(host("a"), instance("wiki-production", on="a"), instance("wiki", on="a"))
    with pytest.raises(RefusedError, match="service wiki production and service wiki-production"):
        ansible.inventory(made, chosen(made))


def test_ssh_finds_a_host_by_name_and_address_through_the_jump_host(tmp_path: Path) -> None:
    made = small()
    (tmp_path / "config").write_text(ssh_config(made, chosen(made)).text)

    def said(name: str) -> dict[str, str]:
        done = run("ssh", "-GT", "-F", tmp_path / "config", name, home=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    for name in ("arm-001", "10.5.124.7"):
        assert (said(name)["hostname"], said(name)["proxyjump"]) == ("10.5.124.7", "bastion")
    assert said("bastion")["hostname"] == "192.0.2.1"
    assert "proxyjump" not in said("bastion")
    assert said("ns")["hostname"] == said("2001:db8::53")["hostname"] == "2001:db8::53"
    assert said("bare")["hostname"] == "bare"
    assert said("wish")["hostname"] == "wish"


def test_ssh_config_goes_through_several_jump_hosts_but_not_in_a_circle() -> None:
    def made(of_b: str | None) -> Facts:
        return facts(
            replace(site("a"), jump_host="gate-b"),
            replace(site("b"), jump_host=of_b),
            host("gate-a", site="a", address="192.0.2.1"),
            host("gate-b", site="b", address="2001:db8::2"),
            host("deep", site="a"),
        )

    chain = made(None)
    assert "Host deep\n    ProxyJump gate-b\n" in ssh_config(chain, chosen(chain)).text
    text = ansible.inventory(chain, chosen(chain)).text
    assert "ProxyJump=[2001:db8::2]" in text
    circle = made("gate-a")
    for export in (ssh_config, ansible.inventory):
        with pytest.raises(RefusedError, match=r"jump hosts gate-[ab], gate-[ab] lead to"):
            export(circle, chosen(circle))


def test_a_jump_host_that_is_gone_and_addresses_in_two_sites_are_told_apart() -> None:
    made = facts(
        replace(site("a"), jump_host="gate"),
        host("gate", site="a", status="planned"),
        host("x", site="a", address="10.0.0.1"),
        host("y", address="10.0.0.1"),
    )
    found = ssh_config(made, chosen(made))
    assert "Host x\n    HostName 10.0.0.1\n" in found.text
    assert "ProxyJump" not in found.text
    assert [one.partition(":")[0] for one in found.left_out] == ["x"]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("a\nProxyCommand touch x", None),
        ("*", None),
        ("a b", None),
        ("a", "10.0.0.1\n"),
        ("a", "x"),
    ],
)
def test_nothing_is_written_that_could_be_another_line(name: str, address: str | None) -> None:
    made = facts(host(name, address=address))
    hosts = list(made.hosts.values())
    zone = replace(ZONE, name_servers=("ns.example.net",))
    exports: list[Callable[[], Exported]] = [
        lambda: ssh_config(made, hosts),
        lambda: known_hosts(hosts),
        lambda: ansible.inventory(made, hosts),
        lambda: prometheus.targets(made, hosts, 9100),
        lambda: dns_zone.forward(made, hosts, zone),
    ]
    for export in exports:
        with pytest.raises(RefusedError, match="no plain name"):
            export()


def new_key(folder: Path) -> str:
    """Make a key pair for a server, and return the public one without its comment."""
    file = folder / "key"
    done = run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file, home=folder)
    assert done.returncode == 0, done.stderr
    return " ".join(file.with_suffix(".pub").read_text().split()[:2])


def test_ssh_keygen_finds_a_host_by_name_and_address(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    made = [
        host("a", address="10.5.124.7", ssh_host_keys=(key,)),
        host("six", address="2001:db8::7", ssh_host_keys=(key, key.replace("AAAA", "AAAB"))),
        host("twice", address="10.0.0.1", ssh_host_keys=(key,)),
        host("again", address="10.0.0.1", ssh_host_keys=(key,)),
        host("unknown"),
    ]
    found = known_hosts(made)
    (tmp_path / "known_hosts").write_text(found.text)
    for name in ("a", "10.5.124.7", "six", "2001:db8::7", "twice"):
        done = run("ssh-keygen", "-F", name, "-f", tmp_path / "known_hosts", home=tmp_path)
        assert done.returncode == 0, name
        assert key in done.stdout
    done = run("ssh-keygen", "-F", "10.0.0.1", "-f", tmp_path / "known_hosts", home=tmp_path)
    assert done.returncode == 1
    assert found.left_out == ("unknown: its keys are not known; write its `ssh_host_keys`",)


@pytest.mark.parametrize(
    "key", ["", "ssh-rsa A\n* ssh-rsa B", "ssh-rsa", "a b c", "@revoked * x y"]
)
def test_a_key_is_one_line_of_two_words(key: str) -> None:
    with pytest.raises(RefusedError, match="no public key"):
        known_hosts([host("a", ssh_host_keys=(key,))])


def test_ssh_trusts_a_real_server_only_by_the_key_that_was_exported(tmp_path: Path) -> None:
    daemon = consumer("sshd")
    if not Path("/run/sshd").is_dir():
        pytest.skip("sshd cannot start without /run/sshd: systemctl start ssh")
    (tmp_path / "other").mkdir()
    key, other = new_key(tmp_path), new_key(tmp_path / "other")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text("")
    command = [daemon, "-D", "-e", "-f", str(tmp_path / "sshd_config"), "-p", str(port)]
    command += ["-o", "ListenAddress=127.0.0.1", "-h", str(tmp_path / "key")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            while "Server listening" not in (line := server.stderr.readline()):
                assert line, "sshd did not start"
            for known, refused in ((key, False), (other, True)):
                made = facts(host("a", address="127.0.0.1", ssh_host_keys=(known,)))
                (tmp_path / "config").write_text(ssh_config(made, chosen(made)).text)
                (tmp_path / "known").write_text(known_hosts(chosen(made)).text)
                options = ("StrictHostKeyChecking=yes", "BatchMode=yes")
                done = run(
                    *("ssh", "-F", tmp_path / "config", "-p", port),
                    *("-o", f"UserKnownHostsFile={tmp_path / 'known'}"),
                    *(part for option in options for part in ("-o", option)),
                    *("a", "true"),
                    home=tmp_path,
                )
                assert ("Host key verification failed" in done.stderr) is refused, done.stderr
                assert ("Permission denied" in done.stderr) is not refused, done.stderr
        finally:
            server.terminate()


def check_zone(origin: str, text: str, folder: Path) -> str:
    (folder / "zone").write_text(text)
    done = run("named-checkzone", "-D", origin, folder / "zone", home=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    return re.sub(r"[ \t]+", " ", done.stdout)


def test_the_name_server_takes_the_zones(tmp_path: Path) -> None:
    made = small()
    found = dns_zone.forward(made, chosen(made), ZONE, services=True)
    zone = check_zone("example.org", found.text, tmp_path)
    assert "example.org. 3600 IN SOA ns.example.org. hostmaster.example.org. 2026011500 " in zone
    assert "arm-001.example.org. 3600 IN A 10.5.124.7\n" in zone
    assert "ns.example.org. 3600 IN AAAA 2001:db8::53\n" in zone
    assert "gerrit.example.org. 3600 IN CNAME arm-001.example.org.\n" in zone
    assert "wiki.example.org. 3600 IN CNAME ns.example.org.\n" in zone
    assert found.left_out == ("bare: it has no address; write its `address`",)
    for prefix, pointer in (
        ("10.5.124.0/24", "7.124.5.10.in-addr.arpa. 3600 IN PTR arm-001.example.org.\n"),
        ("2001:db8::/32", ".8.b.d.0.1.0.0.2.ip6.arpa. 3600 IN PTR ns.example.org.\n"),
    ):
        network = ipaddress.ip_network(prefix)
        back = dns_zone.reverse(chosen(made), replace(ZONE, name_servers=("a.example",)), network)
        origin = re.search(r"^\$ORIGIN (\S+)\.$", back.text, re.MULTILINE)
        assert origin
        (tmp_path / "zone").write_text(back.text)
        done = run(
            "named-checkzone", "-i", "none", "-D", origin[1], tmp_path / "zone", home=tmp_path
        )
        assert done.returncode == 0, done.stdout
        assert pointer in re.sub(r"[ \t]+", " ", done.stdout)
        assert done.stdout.count("PTR") == 1


def test_a_zone_leaves_out_what_is_ambiguous_and_says_so(tmp_path: Path) -> None:
    made = facts(
        host("ns", address="192.0.2.1"),
        host("b", address="192.0.2.2"),
        host("b.example.org", address="192.0.2.3"),
        host("example.org", address="192.0.2.4"),
        host("c+d", address="192.0.2.5"),
        host("d", address="192.0.2.1"),
        host("e..f", address="192.0.2.6"),
        instance("two/app/production/1", on="ns"),
        instance("two/app/production/2", on="b"),
        instance("b", on="ns"),
        instance("own", on="ns", addresses={"public": 1}),
        instance("tests/app/testing", on="ns"),
        instance("nowhere"),
        instance("lost", on="c+d"),
    )
    found = dns_zone.forward(made, chosen(made), ZONE, services=True)
    zone = check_zone("example.org", found.text, tmp_path)
    assert "example.org. 3600 IN A 192.0.2.4\n" in zone
    assert " CNAME " not in zone
    assert [one.partition(":")[0] for one in found.left_out] == [
        *("b.example.org", "c+d", "e..f"),
        *("service b", "service lost", "service own", "service two"),
    ]
    back = dns_zone.reverse(chosen(made), ZONE, ipaddress.ip_network("192.0.2.0/24"))
    assert back.text.count(" PTR ") == 4
    assert back.left_out[-1].startswith("ns: d has its address")


def test_a_zone_that_no_server_would_load_is_refused() -> None:
    made = facts(host("a", address="192.0.2.1"))
    with pytest.raises(RefusedError, match=r"no host has its address; give the host ns"):
        dns_zone.forward(made, chosen(made), ZONE)
    with pytest.raises(RefusedError, match="multiple of 8"):
        dns_zone.reverse(chosen(made), ZONE, ipaddress.ip_network("192.0.2.0/25"))
    for wrong in ("a b", "", "x\n@ IN NS y", "-a.org", "a" * 64, "a." * 127 + "a"):
        with pytest.raises(RefusedError, match="no name in the DNS"):
            replace(ZONE, origin=wrong)


def test_prometheus_discovers_each_host_once_with_its_labels(tmp_path: Path) -> None:
    made = small()
    (tmp_path / "hosts.json").write_text(prometheus.targets(made, chosen(made), 9100).text)
    (tmp_path / "prometheus.yml").write_text(
        "scrape_configs:\n"
        "  - job_name: node\n"
        f"    file_sd_configs: [{{files: [{tmp_path}/hosts.json]}}]\n"
    )
    done = run("promtool", "check", "config", tmp_path / "prometheus.yml", home=tmp_path)
    assert done.returncode == 0, done.stderr
    command = ("check", "service-discovery", "--timeout=1s", tmp_path / "prometheus.yml", "node")
    done = run("promtool", *command, home=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {one["labels"]["instance"]: one["labels"] for one in json.loads(done.stdout)}
    assert set(found) == {"arm-001", "bare", "bastion", "ns"}
    arm = found["arm-001"]
    assert (arm["site"], arm["rack"], arm["architecture"]) == ("phx2", "r1", "arm64")
    assert (arm["service"], arm["environment"]) == ("gerrit,wiki", "production,testing")
    assert found["ns"]["__address__"] == "[2001:db8::53]:9100"
    assert found["bare"]["__address__"] == "bare:9100"
    assert "service" not in found["bastion"]
