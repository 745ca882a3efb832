"""What well-formed files come to: facts in integers, with nothing left to look up."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from commonfarm.estate import host_apt
from commonfarm.estate.facts import Period
from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text
from commonfarm.estate.resolving.assumptions import assumed_kinds
from tests.estate.written import GIB, facts


def test_a_site_has_its_networks_with_as_many_addresses_as_machines_can_have() -> None:
    found = facts(
        a="""\
        sites:
          - name: phx2
            bandwidth: 1 Gbit/s
            traffic: 50 TB/month
            jump_host: bastion
            administrators: [anna, ben@example.org]
            networks:
              - {name: build, prefix: 10.5.124.0/24}
              - {name: point, prefix: 10.5.125.0/31, reserved: 0}
              - {name: six, prefix: 2001:db8::/120}
        hosts:
          - {name: bastion, architecture: amd64, site: phx2}
        """
    )
    site = found.sites["phx2"]
    assert {name: one.capacity for name, one in site.networks.items()} == {
        "build": 253, "point": 2, "six": 254,
    }  # fmt: skip
    assert site.limits == {"bandwidth": 10**9, "traffic": 50 * 10**12}
    assert (site.title, site.jump_host) == ("phx2", "bastion")
    assert site.administrators == ("anna", "ben@example.org")
    assert site.where == "a.yaml:2:5"
    assert found.sites["phx2"].networks["six"].where == "a.yaml:10:9"


def test_a_pledge_is_open_goodwill_for_a_year_unless_more_is_said() -> None:
    found = facts(
        a="""\
        sponsors: [{name: nokia, logo: nokia.svg, url: "https://nokia.example"}]
        pledges:
          - {name: short, sponsor: nokia, what: a host}
          - name: full
            sponsor: nokia
            what: three servers
            from: 2011-01-01
            until: 2013-01-01
            minimum_term: 2 weeks
            notice: 1 month
            notice_given_on: 2012-09-01
            terms: contract
            disclosure: anonymous
        """
    )
    short, full = found.pledges["short"], found.pledges["full"]
    assert (short.minimum_term, short.notice) == (Period(12), Period(3))
    assert (short.start, short.until, short.terms, short.disclosure) == (
        None, None, "goodwill", "public",
    )  # fmt: skip
    assert (full.minimum_term, full.notice) == (Period(0, 14), Period(1))
    assert (full.start, full.until) == (date(2011, 1, 1), date(2013, 1, 1))


def test_a_range_of_hosts_is_as_many_hosts_alike() -> None:
    found = facts(
        a="""\
        sponsors: [{name: nokia}]
        pledges: [{name: loan, sponsor: nokia, what: hosts}]
        sites: [{name: phx2, networks: [{name: build, prefix: 10.0.0.0/24}]}]
        hosts:
          - name: arm-[008:011]
            site: phx2
            rack: r1
            architecture: arm64
            cores: 4
            memory: 24 GB
            CUSTOM_GPU: 2
            reserved: {memory: 1.5 GiB}
            allocation_ratio: {cores: 4, memory: 1.25}
            traits: [HW_CPU_X86_SSSE3]
            virtualisation: true
            bare_metal: true
            console: true
            networks: [build]
            pledge: loan
          - {name: "[a:c]-[1:5:2]", architecture: amd64}
        """
    )
    assert list(found.hosts) == [
        "a-1", "a-3", "a-5", "arm-008", "arm-009", "arm-010", "arm-011",
        "b-1", "b-3", "b-5", "c-1", "c-3", "c-5",
    ]  # fmt: skip
    host = found.hosts["arm-010"]
    assert host.capacity == {"cores": 4000, "memory": 24 * 10**9, "CUSTOM_GPU": 2}
    assert host.reserved == {"memory": 3 * GIB // 2}
    assert host.allocation_ratio == {"cores": 4, "memory": Fraction(5, 4)}
    assert host.traits == {
        "HW_CPU_X86_SSSE3", "CUSTOM_VIRTUALISATION", "CUSTOM_BARE_METAL", "CUSTOM_CONSOLE",
    }  # fmt: skip
    assert (host.sponsor, host.pledge, host.status) == ("nokia", "loan", "existing")


def test_host_as_architecture_is_this_machine_s_own() -> None:
    found = facts(
        a="""\
        hosts: [{name: a, architecture: host}]
        services:
          - name: wiki
            components: [{name: web, requires: {architecture: [host, s390x]}}]
        """
    )
    own = host_apt.host_architecture()
    assert found.hosts["a"].architecture == own
    needs = found.instances["wiki/web/production/1"].requirement
    assert needs.architectures == (own, "s390x")


def test_the_catalogue_is_that_of_the_estate_or_a_built_in_one_that_is_all_assumed() -> None:
    service = "services: [{name: wiki, components: [{name: web}]}]\n"
    own = "catalogue: [{name: box, title: a box, cost: 3, architecture: amd64, cores: 8}]\n"
    found = facts(a=service + own)
    assert list(found.catalogue) == ["box"]
    box = found.catalogue["box"]
    assert (box.title, box.cost, box.host.name) == ("a box", 3, "box")
    assert box.host.capacity == {"cores": 8000}
    assert found.assumptions == ()
    built_in = facts(a=service)
    assert {one.source for one in built_in.catalogue.values()} == {"assumption"}
    assert built_in.catalogue["rack-server"].host.capacity["cores"] == 32_000
    assert built_in.assumptions == (), "nothing rests on it yet"
    (told,) = assumed_kinds([built_in.catalogue["rack-server"], found.catalogue["box"]])
    assert told.where.startswith("built-in catalogue:")
    assert told.what == "server in a rack: cost 10, cores 32, disk 2 TB, memory 128 GiB"


def test_all_that_nobody_said_is_listed_in_words_where_it_stands() -> None:
    found = facts(
        a="""\
        sizes:
          - {name: beefy, cores: 16, memory: 64 GiB, source: assumption}
          - {name: small, cores: 1, source: the mail of 2011-05-04}
        catalogue: [{name: box, cost: 1, architecture: amd64, console: true, source: assumption}]
        services:
          - name: wiki
            components:
              - name: web
                requires:
                  size: small
                  disk: {low: 1 GB, likely: 2 GB, high: 3 GB}
                  source: assumption
            ladder:
              - {component: web, resource: cores, above: 80%, change: split, source: assumption}
        """,
        b="policy: {survive: [host], source: assumption}",
    )
    assert [(one.where, one.what) for one in found.assumptions] == [
        ("a.yaml:2:5", "size beefy: cores 16, memory 64 GiB"),
        ("a.yaml:4:13", "catalogue box: cost 1, architecture amd64, console true"),
        (
            "a.yaml:10:11",
            (
                "service wiki, component web, requires: size small,"
                " disk (low 1 GB, likely 2 GB, high 3 GB)"
            ),
        ),
        (
            "a.yaml:14:9",
            "service wiki, ladder: component web, resource cores, above 80%, change split",
        ),
        ("b.yaml:1:9", "policy: survive [host]"),
    ]
    assert found.policy.source == "assumption"
    assert found.services["wiki"].ladder[0].source == "assumption"


def test_a_range_may_have_a_source() -> None:
    found = facts(
        a="""\
        sizes:
          - name: small
            cores: {low: 1, likely: 2, high: 4, source: assumption}
            memory: {low: 1 GiB, likely: 1 GiB, high: 4 GiB, source: {high: assumption, low: Anna}}
        """
    )
    assert [(one.where, one.what) for one in found.assumptions] == [
        ("a.yaml:3:12", "size small, cores: low 1, likely 2, high 4"),
        ("a.yaml:4:13", "size small, memory: high 4 GiB"),
    ]


def test_each_key_may_have_a_source_of_its_own() -> None:
    found = facts(
        a="""\
        sponsors: [{name: lender, source: assumption}]
        pledges:
          - {name: loan, sponsor: lender, what: hosts, from: 2011-01-01, source: {from: assumption}}
        hosts:
          - name: mer[1:3]
            architecture: amd64
            cores: 16
            memory: 24 GB
            disk: 2 TB
            source: {memory: the letter of 2011, disk: assumption, cores: assumption}
        """
    )
    assert [(one.where, one.what) for one in found.assumptions] == [
        ("a.yaml:1:12", "sponsor lender"),
        ("a.yaml:3:5", "pledge loan: from 2011-01-01"),
        ("a.yaml:5:5", "host mer[1:3]: cores 16, disk 2 TB"),
    ]
    assert found.hosts["mer2"].source == "cores, disk: assumption; memory: the letter of 2011"


def test_a_host_says_its_ssh_keys_without_their_comments() -> None:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIF3n8oKqzBAJp0w3zhUAm6ODI7YHc5YV1zkZb7Kpz9yq"
    found = facts(
        a=f"""\
        hosts:
          - {{name: a, architecture: amd64, ssh_host_keys: ["ssh-ed25519 {key} root@a"]}}
        """
    )
    assert found.hosts["a"].ssh_host_keys == (f"ssh-ed25519 {key}",)


@pytest.mark.parametrize(("until", "right"), [("2025-01-01", False), ("2027-01-01", True)])
def test_a_placement_is_judged_by_the_day(until: str, right: bool) -> None:
    text = f"""\
sponsors: [{{name: nokia}}]
pledges: [{{name: loan, sponsor: nokia, what: a host, until: {until}}}]
hosts: [{{name: a, architecture: amd64, pledge: loan}}]
services: [{{name: wiki, components: [{{name: web, instances: [{{on: [a]}}]}}]}}]
"""
    texts = [Text("a.yaml", text.encode())]
    assert resolved(texts), "without a day nothing has ended"
    if right:
        assert resolved(texts, date(2026, 1, 15))
    else:
        with pytest.raises(Exception, match="ended on 2025-01-01"):
            resolved(texts, date(2026, 1, 15))
