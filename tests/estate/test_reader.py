"""What is wrong with an estate's YAML is told at file, line and column, all of it at once."""

from __future__ import annotations

from textwrap import dedent

import pytest

from commonfarm.estate.reader import Estate, Text, read
from commonfarm.estate.yaml_nodes import MOST_BYTES
from commonfarm.lib.errors import BadInputError

GOOD = """\
pools:
  - name: local
    architecture: amd64
hosts:
  - name: anvil
    architecture: amd64
    pool: local
targets:
  - name: bookworm-amd64
    suite: bookworm
    architecture: amd64
    packages:
      - uri: https://deb.example.org/debian
        suite: bookworm
        components: [main]
projects:
  - name: first
    targets: [bookworm-amd64]
    repository: demo
trees:
  - name: pub
    repositories:
      - name: demo
        path: pub/demo
        valid_for: 7 d
"""


def estate(**files: str | bytes) -> Estate:
    """Read files given by name, without their `.yaml`."""
    return read(
        [
            Text(f"{name}.yaml", text if isinstance(text, bytes) else dedent(text).encode())
            for name, text in files.items()
        ]
    )


def faults(**files: str | bytes) -> list[str]:
    """Return what is said of the files, a line each."""
    with pytest.raises(BadInputError) as error:
        estate(**files)
    assert error.value.exit_code == 2
    return str(error.value).splitlines()


def test_a_good_estate_is_read_whole() -> None:
    found = estate(a=GOOD)
    assert [one.thing.name for one in found.hosts] == ["anvil"]
    assert found.hosts[0].thing.pool == "local"
    [target] = found.targets
    assert isinstance(target.thing.packages, list)
    assert target.thing.packages[0].uri == "https://deb.example.org/debian/", "with its slash"
    assert target.thing.components == ["main"], "the default"
    [(tree, repository)] = found.repositories
    assert (tree, repository.thing.path, repository.thing.valid_for) == ("pub", "pub/demo", 604800)


def test_an_estate_may_stand_in_several_files_that_refer_to_each_other() -> None:
    head, tail = GOOD.split("projects:\n")
    found = estate(a=head, b="projects:\n" + tail)
    assert found.projects[0].thing.targets == ["bookworm-amd64"]
    assert found.digest != estate(a=GOOD).digest


def test_the_digest_covers_names_and_bytes_but_no_order() -> None:
    one, two = Text("a.yaml", GOOD.encode()), Text("b.yaml", b"hosts: []\n")
    assert read([one, two]).digest == read([two, one]).digest
    assert read([one]).digest != read([Text("c.yaml", GOOD.encode())]).digest
    assert read([one]).digest != read([Text("a.yaml", GOOD.encode() + b"\n")]).digest


def test_all_faults_of_all_files_are_told_at_once_in_order() -> None:
    first = """\
        targets:
          - name: bookworm-amd64
            suit: bookworm
            architecture: amd64
            packages: apt
            components: main
            signed_sources_only: sometimes
          - name: Trixie
            suite: 13
            architecture: amd64
            packages:
              - uri: ftp://deb.example.org/debian
                suite: trixie
                components: []
        """
    second = """\
        projects:
          - name: first
            targets: [bookworm-amd46, bookworm-amd64, bookworm-amd64]
            repository: dmo
        poools: []
        """
    third = "trees: [\n"
    assert faults(a=first, b=second, c=third) == [
        "a.yaml:2:5: `suite` is missing; add `suite:`",
        "a.yaml:3:5: unknown key `suit`; did you mean `suite`?",
        "a.yaml:5:15: `packages` is 'apt'; write 'host', or a list",
        (
            "a.yaml:6:17: `components` is text, not a list;"
            " write [one, two], or an item a line after hyphens"
        ),
        "a.yaml:7:26: `signed_sources_only` is text; write true or false",
        (
            "a.yaml:8:11: 'Trixie' is not a name; use up to 63 small letters, digits, and between"
            " them hyphens, dots, plus signs"
        ),
        (
            "a.yaml:9:12: `suite` is a number, not text; write text, in quotes if it looks like a"
            " number"
        ),
        (
            "a.yaml:12:14: 'ftp://deb.example.org/debian' is no address of an archive;"
            " write http:// or https://"
        ),
        "a.yaml:14:21: the list is empty; name at least one",
        "b.yaml:3:15: there is no target `bookworm-amd46`; did you mean `bookworm-amd64`?",
        "b.yaml:3:47: 'bookworm-amd64' stands in the list twice; take one away",
        "b.yaml:4:17: there is no repository `dmo`; declare it",
        "b.yaml:5:1: unknown section `poools`; did you mean `pools`?",
        (
            "c.yaml:2:1: did not find expected node content;"
            " look at colons, brackets, quotes and indentation, here and in the lines just above"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets:\n\t- name: x\n", "2:1: a tab stands where YAML wants spaces; use spaces"),
        ("hosts: [{name: arm-[001:100]}]", "1:20: a range of names stands within braces or brack"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins; keep one to a file"),
        (b"pools:\n  - name: caf\xe9\n", "2:14: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfep\0o\0", "1:1: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("pools: \0\n", r"1:8: the character '\x00' has no place in a text; remove it"),
        ("", "1:1: the file is empty; declare something in it, or remove it"),
        ("# nothing yet\n", "1:1: the file is empty; declare something in it, or remove it"),
        ("hello\n", "1:1: this is no mapping; begin with a section: `hosts:`"),
        ("pools:\n", "1:7: `pools` is nothing, not a list; begin each item with a hyphen"),
        ("pools: {}\n", "1:8: `pools` is a mapping, not a list; begin each item with a hyphen"),
        ("pools: [x]\n", "1:9: this item is text, not a mapping; write `name: …` and its other"),
        ("pools: []\n", " declares nothing; begin with `hosts:` or `services:`"),
        ("pools: []\npools: []\n", "2:1: the key `pools` stands here a second time (first in line"),
        ("1: x\n", "1:1: this key is not plain text; write a plain word"),
        ("? [a]\n: x\n", "1:3: this key is not plain text; write a plain word"),
        ("pools: *gone\n", "1:8: found undefined alias"),
        ("%YAML 3.0\n---\npools: []\n", "1:1: found incompatible YAML document"),
        ("x" * (MOST_BYTES + 1), " the file is larger than 4.0 MiB; split it into several"),
        ("pools: " + "[" * 40 + "]" * 40, "1:37: this is more than 30 levels deep; flatten it"),
    ],
)
def test_a_file_that_is_no_estate(text: str | bytes, said: str) -> None:
    [told] = faults(a=text)
    assert told.startswith(f"a.yaml:{said}")


def test_a_value_with_a_tag_runs_nothing_and_is_told_once() -> None:
    text = "pools:\n  - name: !!python/object/apply:os.system [id]\n    architecture: amd64\n"
    assert faults(a=text) == [
        (
            "a.yaml:2:11: the tag `python/object/apply:os.system` is not used here;"
            " write the value without a tag"
        )
    ]


@pytest.mark.parametrize("digits", ["9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 9000])
def test_a_number_without_end_is_told_in_our_words(digits: str) -> None:
    text = f"""\
        services:
          - name: wiki
            priority: {digits}
            status: {digits}
            components: [{{name: web, instances: [{{count: {digits}}}]}}]
            observed: [{{resource: cores, on: 2026-01-01, amount: {digits}}}]
        """
    told = faults(a=text)
    assert [line.split(":")[1] for line in told] == ["3", "4", "5", "6"]
    assert not any("limit" in line for line in told)


def test_a_bomb_of_aliases_ends_as_one_fault() -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a]"]
    for level in range(1, 9):
        lines.append(f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 9)}]")
    [told] = faults(a="\n".join(lines))
    assert told.endswith("the aliases here expand to too many values; write the values out")


def test_an_alias_of_itself_ends_as_one_fault() -> None:
    [told] = faults(a="pools: &me\n  - *me\n")
    assert "expand to too many values" in told


def test_brackets_without_end_are_refused() -> None:
    [told] = faults(a="pools: " + "[" * 20_000)
    assert told == "a.yaml:1:37: this is more than 30 levels deep; flatten it"


def test_an_alias_within_measure_is_fine_and_a_merge_is_not() -> None:
    aliased = GOOD.replace("components: [main]", "components: &c [main]").replace(
        "    packages:", "    components: *c\n    packages:"
    )
    with pytest.raises(BadInputError, match="undefined alias"):
        estate(a=aliased)  # an alias stands after its anchor
    good = "pools:\n  - name: &n local\n    architecture: amd64\nhosts:\n"
    good += "  - name: *n\n    architecture: amd64\n    pool: *n\n"
    assert estate(a=good).hosts[0].thing.pool == "local"
    merged = "pools:\n  - &p {name: a, architecture: amd64}\n  - <<: *p\n    name: b\n"
    assert "a.yaml:3:5: mappings are not merged here; write the keys out" in faults(a=merged)


def test_what_is_declared_twice_is_told_with_both_places() -> None:
    more = """\
        pools:
          - name: local
            architecture: arm64
        trees:
          - name: other
            repositories:
              - {name: demo, path: x, valid_for: 7 d}
        """
    assert faults(a=GOOD, b=more) == [
        (
            "b.yaml:2:11: the pool local is declared already, at a.yaml:2:11;"
            " give one of them another name"
        ),
        (
            "b.yaml:7:16: the repository demo is declared already, at a.yaml:23:15;"
            " give one of them another name"
        ),
    ]


def test_a_thing_with_a_fault_does_not_make_those_dangle_that_name_it() -> None:
    broken = GOOD.replace("    suite: bookworm\n    arch", "    arch")
    assert faults(a=broken) == ["a.yaml:9:5: `suite` is missing; add `suite:`"]
    with_both = GOOD.replace("repository: demo", "repository: dem\n    colour: red")
    assert faults(a=with_both) == [
        "a.yaml:19:17: there is no repository `dem`; did you mean `demo`?",
        "a.yaml:20:5: unknown key `colour`; there are: name, repository, source, targets",
    ]


def targets(*written: str, project: str = "") -> str:
    """Return an estate with these targets, and a project that is written so."""
    text = "".join(f"  - {{{one}, packages: host}}\n" for one in written)
    return f"targets:\n{text}projects:\n  - {{name: first{project}}}\n"


def test_what_stands_at_an_unknown_key_is_not_judged() -> None:
    said = faults(a="hosts: [{name: a, architecture: amd64, memry: 16 GiB}]")
    assert said == ["a.yaml:1:40: unknown key `memry`; did you mean `memory`?"]


def test_a_target_without_a_name_is_named_by_suite_and_architecture() -> None:
    text = targets("suite: trixie, architecture: arm64", project=", targets: [trixie-arm64]")
    found = estate(a=text)
    assert found.targets[0].thing.name is None
    assert faults(a=text.replace("[trixie-arm64]", "[trixie-arm46]")) == [
        "a.yaml:4:29: there is no target `trixie-arm46`; did you mean `trixie-arm64`?"
    ]
    assert faults(a=text, b="targets: [{suite: trixie, architecture: arm64, packages: host}]") == [
        (
            "b.yaml:1:11: the target trixie-arm64 is declared already, at a.yaml:2:5;"
            " give one of them another name"
        )
    ]


def test_a_name_that_only_loading_knows_may_be_referred_to() -> None:
    for written, right, wrong in (
        ("suite: host, architecture: host", "bookworm-amd64", "hots"),
        ("suite: host, architecture: arm64", "bookworm-arm64", "bookworm-amd64"),
        ("suite: sid, architecture: host", "sid-riscv64", "bookworm-riscv64"),
    ):
        text = targets(written, "name: x, suite: sid, architecture: host", project=", targets: [T]")
        estate(a=text.replace("[T]", f"[x, {right}]"))
        assert faults(a=text.replace("[T]", f"[x, {wrong}]")) == [
            f"a.yaml:5:32: there is no target `{wrong}`; there are: x"
        ]


def test_a_fault_in_a_target_without_a_name_is_told_alone() -> None:
    text = targets("architecture: arm64", project=", targets: [trixie-arm64]")
    assert faults(a=text) == ["a.yaml:2:5: `suite` is missing; add `suite:`"]
    assert faults(a=targets("suite: trixie, architecture: arm64, name: X")) == [
        (
            "a.yaml:2:48: 'X' is not a name; use up to 63 small letters, digits, and between"
            " them hyphens, dots, plus signs"
        )
    ]


def test_a_project_without_targets_builds_for_all_there_are() -> None:
    assert estate(a=targets("suite: host, architecture: host")).projects[0].thing.targets is None
    assert faults(a="projects: [{name: first}]") == [
        "a.yaml:1:12: there is no target to build for; declare one under `targets:`"
    ]
    assert faults(a=targets("suite: sid, architecture: host", project=", targets: []")) == [
        "a.yaml:4:28: the list is empty; name at least one"
    ]


def test_a_host_is_of_the_architecture_of_its_pool() -> None:
    other = GOOD.replace("name: anvil\n    architecture: amd64", "name: anvil\n    architecture: X")
    assert faults(a=other.replace("X", "arm64")) == [
        (
            "a.yaml:6:19: the host anvil is arm64, and its pool local amd64;"
            " name a pool of arm64, or mend the architecture"
        )
    ]
    assert estate(a=other.replace("X", "host")), "whether it is one is known at load"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("pub/demo/inner", "the path pub/demo/inner lies in that of demo; move it"),
        ("pub", "the path pub holds that of demo; move it"),
        ("pub/demo", "the path pub/demo lies in that of demo; move it"),
        ("../up", "'../up' is not a path below a release tree"),
        ("/root", "'/root' is not a path below a release tree"),
        ("a//b", "'a//b' is not a path below a release tree"),
        (".git", "'.git' is not a path below a release tree"),
    ],
)
def test_a_repository_lies_in_its_tree_and_in_no_other_repository(path: str, said: str) -> None:
    more = f"      - name: other\n        path: {path}\n        valid_for: 7 d\n"
    [told] = faults(a=GOOD + more)
    assert told.startswith(f"a.yaml:27:15: {said}")


def test_a_tree_is_not_called_as_a_revision_of_another() -> None:
    assert faults(a=GOOD.replace("name: pub", "name: pub.r15")) == [
        (
            "a.yaml:21:11: 'pub.r15' is called as revision 15 of a tree 'pub' on disk;"
            " let it end on something else than `.r` and a number"
        )
    ]
    assert estate(a=GOOD.replace("name: pub", "name: pub.r15a"))


def test_paths_that_only_begin_alike_do_not_overlap() -> None:
    more = "      - {name: other, path: pub/demo2, valid_for: 7 d}\n"
    assert len(estate(a=GOOD + more).repositories) == 2


@pytest.mark.parametrize(
    ("written", "seconds"), [("1 h", 3600), ("1.5 d", 129600), ("90 min", 5400), ("366d", 31622400)]
)
def test_a_duration_is_a_number_with_its_unit(written: str, seconds: int) -> None:
    found = estate(a=GOOD.replace("7 d", written))
    assert found.repositories[0][1].thing.valid_for == seconds


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("7", "7 is not a duration; write a number with its unit, such as `7 d`"),
        ("7 weeks", "'7 weeks' is not a duration; write a number and one of s, min, h, d: `7 d`"),
        ("-7 d", "'-7 d' is not a duration"),
        ("59 min", "'59 min' is too short or too long; write from `1 h` to `366 d`"),
        ("367 d", "'367 d' is too short or too long"),
        ("9" * 400 + " d", "'9999"),
        ("[7 d]", "['7 d'] is not a duration"),
    ],
)
def test_what_is_no_duration(written: str, said: str) -> None:
    [told] = faults(a=GOOD.replace("7 d", written))
    assert told.startswith(f"a.yaml:25:20: {said}")


@pytest.mark.parametrize(
    "uri",
    [
        "deb.example.org/debian",
        "file:///srv/debian",
        "http://",
        "http://[::1/debian",
        "'http://a b/'",
        "'http://x/#y'",
        "http://x/?y",
        "http://user:secret@x/debian",
        "ftp://user:secret@x/debian",
    ],
)
def test_an_address_that_builders_cannot_or_must_not_use(uri: str) -> None:
    [told] = faults(a=GOOD.replace("https://deb.example.org/debian", uri))
    assert told.startswith("a.yaml:13:14: ")
    assert "secret" not in told


@pytest.mark.parametrize("keyring", ["keys.gpg", "/a/../b.gpg", '"/a\\u0007"'])
def test_a_keyring_is_an_absolute_path(keyring: str) -> None:
    [told] = faults(a=GOOD.replace("    packages:", f"    keyring: {keyring}\n    packages:"))
    assert "is no absolute path; write one that begins with a slash" in told
