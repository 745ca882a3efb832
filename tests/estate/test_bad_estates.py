"""What is wrong with an estate is told exactly: all of it, at its place, with what to do.

Each file in `bad/` is an estate; the comments at its end are what is said of it, line by line.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from commonfarm.estate.folder import resolved
from commonfarm.estate.reader import Text
from commonfarm.lib.errors import BadInputError

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
TODAY = date(2026, 1, 15)


def told(**files: str) -> list[str]:
    """Return what is wrong with files given by name, without their `.yaml`."""
    with pytest.raises(BadInputError) as error:
        resolved([Text(f"{name}.yaml", text.encode()) for name, text in files.items()], TODAY)
    return str(error.value).splitlines()


@pytest.mark.parametrize("path", BAD, ids=lambda path: str(path.stem))
def test_all_that_is_wrong_is_told_at_once(path: Path) -> None:
    estate, _, said = path.read_text().partition("\n#! ")
    wanted = [line.removeprefix("#! ") for line in f"#! {said}".splitlines()]
    assert [line.removeprefix("a.yaml:") for line in told(a=estate + "\n")] == wanted


def test_two_files_that_say_different_things() -> None:
    one = "hosts: [{name: a, architecture: amd64, cores: 4}]\npolicy: {horizon: 1 year}\n"
    two = "hosts: [{name: a, architecture: amd64, cores: 8}]\npolicy: {horizon: 2 years}\n"
    assert told(one=one, two=two) == [
        (
            "two.yaml:1:16: the host a is declared already, at one.yaml:1:16;"
            " give one of them another name"
        ),
        "two.yaml:2:1: the policy is declared already, at one.yaml:2:9; keep one of them",
    ]


def test_what_stands_twice_is_told_once() -> None:
    text = """\
sites: [{name: s, networks: [{name: x, prefix: 10.0.0.0/8}]}]
hosts: [{name: a, architecture: amd64, site: s, networks: [x], address: 10.0.0.1}]
"""
    assert [line.partition(",")[0] for line in told(a=text, b=text)] == [
        "b.yaml:1:16: the site s is declared already",
        "b.yaml:2:16: the host a is declared already",
    ]


def test_a_section_that_cannot_be_read_is_told_once() -> None:
    assert told(a="hosts: !!python/object/apply:os.system [ls]\nsites: []\n") == [
        (
            "a.yaml:1:8: the tag `python/object/apply:os.system` is not used here;"
            " write the value without a tag"
        )
    ]


def test_a_network_of_another_site_than_those_named() -> None:
    text = """\
sites:
  - {name: s, networks: [{name: x, prefix: 10.0.0.0/24}]}
  - {name: t, networks: [{name: y, prefix: 10.0.1.0/24}]}
services:
  - name: a
    components: [{name: b, requires: {sites: [t], addresses: {x: 1}}}]
"""
    assert told(a=text) == ["a.yaml:6:66: there is no network `x` at t; there are: y"]


def test_a_trait_that_is_wished_for_and_forbidden() -> None:
    text = """\
services:
  - name: a
    components:
      - name: b
        requires: {traits: {preferred: [CUSTOM_A, CUSTOM_B], forbidden: [CUSTOM_B]}}
"""
    assert told(a=text) == [
        "a.yaml:5:51: CUSTOM_B is preferred and forbidden; take one of them away"
    ]


def test_what_is_no_policy() -> None:
    assert told(a="policy: [survive]\n") == [
        "a.yaml:1:9: this item is a list, not a mapping; write `key: value`, a line each"
    ]


def test_what_is_nested_as_it_should_not_be() -> None:
    text = """\
services:
  - name: wiki
    components:
      - name: web
        requires: beefy
        spread: {over: host}
        instances: [3]
    growth: [25%/month]
hosts:
  - {name: a, architecture: amd64, reserved: 1 GiB}
"""
    assert told(a=text) == [
        "a.yaml:5:19: `requires` is text, not a mapping; write `key: value`, a line each",
        (
            "a.yaml:6:17: `spread` is a mapping, not a list;"
            " write [one, two], or an item a line after hyphens"
        ),
        "a.yaml:7:21: this item is a number, not a mapping; write `key: value`, a line each",
        "a.yaml:8:14: this item is text, not a mapping; write `key: value`, a line each",
        "a.yaml:10:46: `reserved` is text, not a mapping; write `key: value`, a line each",
    ]


def test_more_is_reserved_than_there_is() -> None:
    text = "hosts: [{name: a, architecture: amd64, memory: 8 GiB, reserved: {memory: 9 GiB}}]"
    assert told(a=text) == [
        "a.yaml:1:74: more memory is reserved than there is; mend one of the two"
    ]


def test_a_thing_may_be_named_by_one_that_has_faults_and_by_one_beside_it() -> None:
    text = """\
sites:
  - {name: phx2, networks: [{name: build, prefix: 10.0.0.0/33}]}
hosts:
  - {name: a, architecture: amd64, site: phx2, networks: [build], memory: 4 GiX}
sizes:
  - {name: small, memory: 1 GiX}
services:
  - name: wiki
    components:
      - {name: web, requires: {size: small, addresses: {build: 1}}, instances: [{on: [a]}]}
"""
    assert [line.partition(" is no ")[0] for line in told(a=text)] == [
        "a.yaml:2:51: '10.0.0.0/33'",
        "a.yaml:4:75: '4 GiX'",
        "a.yaml:6:27: '1 GiX'",
    ]


def test_what_is_told_steers_no_terminal() -> None:
    text = 'hosts: [{name: a, architecture: amd64, site: "phx\\e[2J\\n2", "cor\\nes": 1}]\n'
    assert told(a=text) == [
        "a.yaml:1:46: there is no site `phx?[2J?2`; declare it",
        "a.yaml:1:61: unknown key `cor?es`; did you mean `cores`?",
    ]


def test_a_misspelt_trait_hides_nothing_else_of_a_service() -> None:
    text = """\
hosts: [{name: lent, architecture: amd64}]
services:
  - name: wiki
    components:
      - name: web
        requires: {traits: {required: [HW_CPU_X86_SSSE]}}
        instances:
          - {on: [lend], requires: {ratio_of: {component: dbb, factor: 1/2}}}
"""
    assert told(a=text) == [
        "a.yaml:6:40: there is no trait `HW_CPU_X86_SSSE`; did you mean `HW_CPU_X86_SSSE3`?",
        "a.yaml:8:19: there is no host `lend`; did you mean `lent`?",
        "a.yaml:8:59: there is no component `dbb`; there are: web",
    ]


def test_a_trait_or_resource_class_of_one_s_own_may_be_guessed() -> None:
    text = "hosts: [{name: a, architecture: amd64, traits: [CUSTOM-kvm], custom-gpu: 1}]\n"
    assert [line.partition("; ")[2] for line in told(a=text)] == [
        "did you mean `CUSTOM_KVM`?",
        "did you mean `CUSTOM_GPU`?",
    ]


@pytest.mark.parametrize(
    ("testing", "same"),
    [
        ("/srv/testing -> upload", True),  # relative to where the link lies
        ("testing -> /srv/upload", True),
        ("/srv/www/testing -> ../upload", True),
        ("/srv/www/testing -> upload", False),
        ("/srv/current", True),  # the link of another, by its own name
        ("/srv/testing -> current", True),
        ("db1:/srv/testing -> /srv/upload", False),  # on a host of its own
        ("web:/srv/testing -> files", True),
        ("web:/srv/testing -> /srv/files", True),
        ("web:/srv/current", False),
    ],
)
def test_a_link_leads_where_it_would_on_the_host(testing: str, same: bool) -> None:
    text = f"""\
services:
  - name: aslo
    environments:
      - {{name: production, file_store: /srv/current -> upload}}
      - {{name: staging, file_store: "web:/srv/files"}}
      - {{name: devel, file_store: /srv/a -> /srv/b, code_tree: /srv/b -> /srv/a}}
      - {{name: testing, file_store: "{testing}"}}
    components: [{{name: app, instances: [{{environment: production}}]}}]
"""
    if same:
        [fault] = told(a=text)
        assert fault.startswith("a.yaml:7:37: aslo/testing uses the file store ")
    else:
        assert resolved([Text("a.yaml", text.encode())])


def test_a_host_that_is_never_there_and_one_that_is_not_there_yet() -> None:
    text = """\
sponsors: [{name: nokia}]
pledges:
  - {name: over, sponsor: nokia, what: a host, from: 2011-01-01, until: 2013-01-01}
  - {name: soon, sponsor: nokia, what: a host, from: 2026-03-01}
hosts:
  - {name: a, architecture: amd64, pledge: over, available_from: 2013-01-01}
  - {name: b, architecture: amd64, pledge: over, available_from: 2012-12-31}
  - {name: c, architecture: amd64, pledge: soon}
  - {name: d, architecture: amd64, available_from: 2026-01-16}
  - {name: e, architecture: amd64, available_from: 2026-01-15}
services: [{name: wiki, components: [{name: web, instances: [{on: [c, d, e], count: 3}]}]}]
"""
    assert told(a=text) == [
        (
            "a.yaml:6:66: it is there from 2013-01-01, and its pledge over ends on 2013-01-01;"
            " mend one of the two"
        ),
        *(
            f"a.yaml:11:{column}: the host {name} is there from {day} on, so nothing runs there"
            " yet; take it away, or mend the day"
            for column, name, day in ((68, "c", "2026-03-01"), (71, "d", "2026-01-16"))
        ),
    ]
    assert resolved([Text("a.yaml", text.replace("available_from: 2013-01-01", "").encode())])


def test_a_trait_may_be_guessed_by_its_flag_and_a_key_in_capitals() -> None:
    text = "hosts: [{name: a, architecture: amd64, traits: [ssse3, hw_cpu_x86_avx2], Memory: 1}]\n"
    assert [line.partition("; ")[2] for line in told(a=text)] == [
        "did you mean `HW_CPU_X86_SSSE3`?",
        "did you mean `HW_CPU_X86_AVX2`?",
        "did you mean `memory`?",
    ]


def test_all_keys_there_are_and_how_many_names_more_are_told() -> None:
    hosts = "".join(f"  - {{name: h{number}, architecture: amd64}}\n" for number in range(40))
    text = f"hosts:\n{hosts}  - {{name: b, architecture: amd64, shelf: 4}}\n"
    text += "services: [{name: a, components: [{name: b, instances: [{on: [zeus]}]}]}]\n"
    keys, names = told(a=text)
    assert "cores, disk" in keys
    assert keys.endswith("traffic, traits, virtualisation")
    assert names.endswith("h33, h34 and 11 more")


def test_an_architecture_by_another_name_than_debian_s() -> None:
    text = """\
hosts: [{name: a, architecture: aarch64}]
services: [{name: a, components: [{name: b, requires: {architecture: x86_64}}]}]
"""
    assert told(a=text) == [
        "a.yaml:1:33: aarch64 is not Debian's name of it; did you mean `arm64`?",
        "a.yaml:2:70: x86_64 is not Debian's name of it; did you mean `amd64`?",
    ]


def test_keys_that_go_by_other_names() -> None:
    text = "hosts: [{name: a, architecture: amd64, CPUs: 4, ram: 4 GiB, storage: 1 TB}]\n"
    assert [line.partition("; ")[2] for line in told(a=text)] == [
        "did you mean `cores`?",
        "did you mean `memory`?",
        "did you mean `disk`?",
    ]


def test_one_fault_does_not_make_others() -> None:
    text = """\
services:
  - name: wiki
    environments: [production, {name: staging}]
    components:
      - {name: web, instances: [{environment: production}, {environment: staging}]}
  - name: list
    components: [{name: web, instances: [{environment: testing}]}]
    ladder:
      - {component: web, resource: cores, above: 1/2, change: x, requires: {ratio_of: {factor: 2}}}
hosts:
  - {name: a, architecture: amd64, traits: &traits [CUSTOM_A, NOPE]}
  - {name: b, architecture: amd64, traits: *traits}
"""
    assert [line.partition(";")[0] for line in told(a=text)] == [
        "a.yaml:3:20: this item is text, not a mapping",
        "a.yaml:7:56: there is no environment `testing`",
        "a.yaml:11:63: there is no trait `NOPE`",
    ]


def test_what_is_no_source_of_a_range() -> None:
    text = """\
sizes:
  - {name: a, cores: {low: 1, likely: 2, high: 4, source: 3}}
  - {name: b, cores: {low: 1, likely: 2, high: 4, source: {hihg: Anna}}}
"""
    assert [line.partition(";")[0] for line in told(a=text)] == [
        "a.yaml:2:59: 3 is no source",
        "a.yaml:3:66: a source for `hihg`",
    ]


def test_what_was_measured_twice_on_a_day() -> None:
    text = """\
services:
  - name: wiki
    components: [{name: web}, {name: db}]
    observed:
      - {component: web, resource: cores, share: 45%, on: 2025-01-01}
      - {component: db, resource: cores, share: 45%, on: 2025-01-01}
      - {component: web, resource: cores, amount: 3, on: 2025-01-01}
      - {component: web, resource: cores, amount: 3, on: 2025-01-02}
"""
    assert told(a=text) == [
        ("a.yaml:7:9: cores of web on 2025-01-01 is said already, at a.yaml:5:9; keep one of them")
    ]
