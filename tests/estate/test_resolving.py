"""What well-formed files come to: facts in integers, with nothing left to look up."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from textwrap import dedent

import pytest

from commonfarm.estate import host_apt
from commonfarm.estate.facts import Facts, Period, Range
from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text
from commonfarm.estate.resolving.assumptions import assumed_kinds

GIB = 2**30


def facts(**files: str) -> Facts:
    """Return the facts of files given by name, without their `.yaml`."""
    return resolved([Text(f"{name}.yaml", dedent(text).encode()) for name, text in files.items()])[
        1
    ]


def amounts(found: Facts, instance: str) -> dict[str, tuple[int, int, int]]:
    needs = found.instances[instance].requirement.amounts
    return {key: (one.low, one.likely, one.high) for key, one in needs.items()}


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


def test_a_service_that_says_little_has_one_instance_in_production() -> None:
    found = facts(a="services: [{name: wiki, components: [{name: web}]}]")
    (one,) = found.instances.values()
    assert one.name == "wiki/web/production/1"
    assert (one.level, one.on, one.status, one.priority) == ("low", None, "needed", 1000)
    assert one.requirement.amounts == {}
    assert found.services["wiki"].title == "wiki"
    assert list(found.services["wiki"].environments) == ["production"]


def test_counts_levels_priorities_and_what_runs_today() -> None:
    found = facts(
        a="""\
        hosts: [{name: "m[1:2]", architecture: amd64}]
        services:
          - name: wiki
            environments: [{name: production}, {name: staging}, {name: testing}, {name: devel}, {name: x}]
            components:
              - name: web
                instances:
                  - {environment: production, count: {low: 1, likely: 2, high: 4}, on: [m2, m1]}
                  - {environment: production, priority: 7, status: planned, disruption_budget: 10%}
                  - {environment: staging}
                  - {environment: testing}
                  - {environment: devel}
                  - {environment: x}
        """  # noqa: E501
    )
    told = [
        (one.name.removeprefix("wiki/web/"), one.level, one.on, one.status, one.priority)
        for one in found.instances.values()
    ]
    assert told == [
        ("devel/1", "low", None, "needed", 30),
        ("production/1", "low", "m2", "existing", 1000),
        ("production/2", "likely", "m1", "existing", 1000),
        ("production/3", "high", None, "needed", 1000),
        ("production/4", "high", None, "needed", 1000),
        ("production/5", "low", None, "planned", 7),
        ("staging/1", "low", None, "needed", 300),
        ("testing/1", "low", None, "needed", 100),
        ("x/1", "low", None, "needed", 100),
    ]
    assert found.instances["wiki/web/production/5"].disruption_budget == Fraction(1, 10)
    assert found.instances["wiki/web/production/5"].where == "a.yaml:9:13"


def test_sizes_ratios_and_what_overrides_them() -> None:
    found = facts(
        a="""\
        sizes: [{name: beefy, cores: 3, memory: {low: 8 GiB, likely: 16 GiB, high: 64 GiB}, disk: 1 TB}]
        services:
          - name: check
            environments: [{name: production}, {name: testing}, {name: staging}, {name: devel}]
            components:
              - name: db
                requires: {ratio_of: {component: app, factor: 2}, isolated_cores: 1}
              - name: app
                requires: {size: beefy, disk: 2 TB, dedicated: true, sites: []}
                instances:
                  - {environment: production}
                  - environment: testing
                    requires:
                      ratio_of: {environment: production, factor: {low: 1/4, likely: 1/2, high: 1/2}}
                      memory: 1 GiB
                  - {environment: staging, requires: {disk: 3 TB, dedicated: false}}
                  - {environment: devel, requires: {size: beefy}}
          - name: other
            components:
              - name: app
                requires:
                  ratio_of: {service: check, component: db, factor: 50%}
        """  # noqa: E501
    )
    memory, tb = (8 * GIB, 16 * GIB, 64 * GIB), 10**12
    assert amounts(found, "check/app/production/1") == {
        "cores": (3000,) * 3, "disk": (2 * tb,) * 3, "memory": memory,
    }  # fmt: skip
    # What is half of production is half of all of it, and nothing of the component's own is left.
    assert amounts(found, "check/app/testing/1") == {
        "cores": (750, 1500, 1500), "disk": (tb // 2, tb, tb), "memory": (GIB,) * 3,
    }  # fmt: skip
    assert amounts(found, "check/app/staging/1")["disk"] == (3 * tb,) * 3
    assert amounts(found, "check/app/staging/1")["memory"] == memory
    assert amounts(found, "check/app/devel/1")["disk"] == (tb,) * 3
    assert amounts(found, "check/db/production/1") == {
        "cores": (6000,) * 3, "disk": (4 * tb,) * 3, "isolated_cores": (1000,) * 3,
        "memory": (16 * GIB, 32 * GIB, 128 * GIB),
    }  # fmt: skip
    assert amounts(found, "other/app/production/1")["cores"] == (3000,) * 3
    assert amounts(found, "other/app/production/1")["isolated_cores"] == (1000,) * 3
    dedicated = {name: one.requirement.dedicated for name, one in found.instances.items()}
    assert dedicated["check/app/testing/1"]
    assert not dedicated["check/app/staging/1"]
    assert not dedicated["other/app/production/1"]


def test_what_is_needed_is_rounded_up_and_what_is_there_down() -> None:
    found = facts(
        a="""\
        hosts: [{name: a, architecture: amd64, memory: 0.3 B, cores: 0.0001}]
        services:
          - name: wiki
            components: [{name: web, requires: {memory: 0.3 B, cores: 0.0001}}]
        """
    )
    assert found.hosts["a"].capacity == {"memory": 0, "cores": 0}
    assert amounts(found, "wiki/web/production/1") == {"memory": (1,) * 3, "cores": (1,) * 3}


def test_rules_over_hosts_traits_and_addresses() -> None:
    found = facts(
        a="""\
        sites: [{name: phx2, networks: [{name: build, prefix: 10.0.0.0/24}]}]
        services:
          - name: wiki
            components:
              - name: web
                requires:
                  architecture: arm64
                  sites: [phx2]
                  addresses: {build: 2}
                  traits:
                    required: [HW_CPU_X86_SSSE3, [HW_CPU_X86_VMX, HW_CPU_X86_SVM]]
                    forbidden: [CUSTOM_SLOW]
                    preferred: [CUSTOM_SSD]
        """
    )
    needs = found.instances["wiki/web/production/1"].requirement
    assert needs.architectures == ("arm64",)
    assert (needs.sites, needs.addresses) == (("phx2",), {"build": 2})
    assert needs.required == (("HW_CPU_X86_SSSE3",), ("HW_CPU_X86_VMX", "HW_CPU_X86_SVM"))
    assert (needs.forbidden, needs.preferred) == (("CUSTOM_SLOW",), ("CUSTOM_SSD",))


def test_spreads_are_rules_over_the_instances_of_each_environment() -> None:
    found = facts(
        a="""\
        services:
          - name: wiki
            environments: [{name: production}, {name: testing}]
            spread: [{over: site, strength: should, at_least: 2}]
            components:
              - name: db
                instances: [{environment: production}, {environment: testing}]
              - name: web
                spread: [{over: host}, {over: rack, at_most: 2}]
                instances: [{environment: production, count: 2}, {environment: testing}]
        """
    )
    told = [(one.instances, one.over, one.must, one.at_most, one.at_least) for one in found.spreads]
    web = ("wiki/web/production/1", "wiki/web/production/2")
    assert sorted(told, key=repr) == [
        (("wiki/db/production/1", *web), "site", False, None, 2),
        (("wiki/db/testing/1", "wiki/web/testing/1"), "site", False, None, 2),
        (web, "host", True, 1, None),
        (web, "rack", True, 2, None),
    ]
    assert {one.where for one in found.spreads} == {"a.yaml:4:14", "a.yaml:9:18", "a.yaml:9:32"}


def test_the_future() -> None:
    found = facts(
        a="""\
        sizes: [{name: small, cores: 1}]
        services:
          - name: aslo
            components: [{name: download}, {name: db}]
            growth:
              - {component: db, resources: [traffic, instances], rate: 25%/month, since: 2009-05-01}
              - resources: [cores]
                rate: {low: 10%/year, likely: 20%/year, high: 0.3/year}
                since: 2009-05-01
            steps:
              - {event: release 16, on: 2012-05-01, resources: [traffic], factor: 2}
            observed:
              - {component: db, resource: cores, share: 45%, on: 2009-05-01}
              - {resource: memory, amount: 3 GiB, on: 2009-05-01}
              - {resource: CUSTOM_GPU, amount: 3, on: 2009-05-01}
            ladder:
              - {component: download, resource: cores, above: 80%, change: move it}
              - {component: db, resource: cores, above: 3/4, change: and it, requires: {size: small}}
        transfers:
          - {name: rebuild, copies: {low: 100, likely: 150, high: 200}, size: 2 GB, link: 1 Gbit/s, within: 30 min}
        policy: {survive: [host, sponsor], horizon: 18 months}
        """  # noqa: E501
    )
    by_db, by_all = sorted(found.growth, key=lambda one: one.component is None)
    assert by_db.resources == ("instances", "traffic")
    assert (by_db.rate.likely, by_db.rate.days) == (Fraction(1, 4), Fraction(36525, 1200))
    assert (by_all.component, by_all.rate.high) == (None, Fraction(3, 10))
    assert by_all.rate.days == Fraction(36525, 100)
    (step,) = found.steps
    assert (step.event, step.on, int(step.low)) == ("release 16", date(2012, 5, 1), 2)
    seen = {one.resource: (one.component, one.amount, one.share) for one in found.observed}
    assert seen == {
        "cores": ("db", None, Fraction(9, 20)),
        "memory": (None, 3 * GIB, None),
        "CUSTOM_GPU": (None, 3, None),
    }
    first, second = found.services["aslo"].ladder
    assert (first.number, first.component, first.above) == (1, "download", Fraction(4, 5))
    assert first.requirement is None
    assert second.requirement is not None
    assert second.requirement.amounts == {"cores": Range(1000, 1000, 1000)}
    (transfer,) = found.transfers
    assert (transfer.size, transfer.link, transfer.within) == (2 * 10**9, 10**9, 1800)
    assert transfer.copies == Range(100, 150, 200)
    assert found.policy.survive == ("host", "sponsor")
    assert found.policy.horizon == Period(18)


def test_environments_may_share_what_they_say_they_share() -> None:
    found = facts(
        a="""\
        services:
          - name: aslo
            environments:
              - {name: production, database: aslo@db, shared_with: [testing]}
              - {name: testing, database: aslo@db}
            components: [{name: app, instances: [{environment: production}]}]
          - name: dl
            environments: [{name: production, database: aslo@db, shared_with: [aslo/testing]}]
            components: [{name: app}]
        """
    )
    environments = found.services["aslo"].environments
    assert environments["production"].shared_with == ("testing",)
    assert environments["testing"].database == "aslo@db"


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
