"""An estate of 50,000 lines is read, in one file or in many; one without measure is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonfarm.estate import reader, yaml_nodes
from commonfarm.estate.files import MOST_TOGETHER, read_files
from commonfarm.estate.folder import read_facts, resolved
from commonfarm.estate.reader import Text
from commonfarm.estate.yaml_nodes import MOST_BYTES
from commonfarm.lib.errors import BadInputError

HOST = """\
  - name: host-{0}
    site: phx2
    rack: r{0}
    architecture: amd64
    cores: 16
    memory: 64 GiB
    disk: 2 TB
    traits: [HW_CPU_X86_SSSE3]
    virtualisation: true
"""
SERVICE = """\
  - name: service-{0}
    coordinators: [anna]
    components:
      - name: web
        requires:
          size: small
          memory: {{low: 4 GiB, likely: 8 GiB, high: 16 GiB}}
        spread:
          - over: host
        instances:
          - count: 3
            on: [host-{0}]
"""
NUMBER = 2400
SIZES = "sites: [{name: phx2}]\nsizes: [{name: small, cores: 1, memory: 1 GiB}]\n"


def section(name: str, item: str, numbers: range) -> str:
    return f"{name}:\n" + "".join(item.format(number) for number in numbers)


def refused(*texts: str) -> list[str]:
    with pytest.raises(BadInputError) as error:
        resolved([Text(f"{n}.yaml", text.encode()) for n, text in enumerate(texts)])
    return str(error.value).splitlines()


@pytest.mark.parametrize("files", [1, 10])
def test_an_estate_of_fifty_thousand_lines(tmp_path: Path, files: int) -> None:
    each, lines = NUMBER // files, 0
    for part in range(files):
        numbers = range(part * each, (part + 1) * each)
        text = section("hosts", HOST, numbers) + section("services", SERVICE, numbers)
        if part == 0:
            text = SIZES + text
        lines += text.count("\n")
        (tmp_path / f"{part}.yaml").write_text(text)
    assert lines > 50_000
    found = read_facts(tmp_path)
    assert len(found.hosts) == NUMBER
    assert len(found.instances) == 3 * NUMBER


def test_thousands_of_faults_are_not_told_without_end() -> None:
    many = section(
        "hosts", "  - {{name: h{0}, architecture: amd64, traits: [SSSE{0}]}}\n", range(1500)
    )
    lines = refused(many)
    assert len(lines) == reader.MOST_PROBLEMS + 2
    assert lines[-1] == ("0.yaml:1003:5: from here on nothing was judged; mend the faults before")
    many = section("hosts", "  - {{name: h{0}, architecture: amd64, site: phx{0}}}\n", range(1500))
    lines = refused(many, "sites: [{name: phx}]\n")
    assert len(lines) == 1500
    assert lines[0].endswith("there is no site `phx0`; did you mean `phx`?")
    assert lines[-1].endswith("there is no site `phx1499`; declare it")


def test_an_estate_without_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reader, yaml_nodes):
        monkeypatch.setattr(module, "MOST_VALUES", 1000)
    values = "pools: [" + "a," * 600 + "]\n"
    assert [line for line in refused(values, values) if "more than" in line] == [
        "1.yaml:1:797: the estate has more than 1000 keys and values; make it smaller"
    ]
    for name in "abcde":
        (tmp_path / f"{name}.yaml").write_bytes(b"#" * (MOST_BYTES - 1) + b"\n")
    assert 5 * MOST_BYTES > MOST_TOGETHER
    with pytest.raises(BadInputError, match=r"the files together are larger than 16\.0 MiB"):
        read_files(tmp_path)
