"""What services come to: instances, what each needs, rules, and the future."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from commonfarm.estate.facts import Period, Range
from tests.estate.written import GIB, amounts, facts


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
