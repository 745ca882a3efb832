"""Whatever is imported becomes an estate without a fault, or ends as a clear error."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.ganeti import made_cluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.estate.imports import ansible, ganeti, netbox
from commonfarm.estate.imports.draft import Draft, with_capacity_from_load
from commonfarm.lib.errors import BadInputError
from tests.estate.consumers import imported

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = st.sampled_from(
    [
        *("a", "A", "a!", "b.example.org", "-", "…", "1", "0", "-1", "2.5", "10 GiB", "10.0.0.1"),
        *("10.0.0.1/24", "2001:db8::1/64", "fe80::1%eth0", "x86_64", "active", "planned", "host"),
        *("{{ x }}", "\x1b[0m", "a\nb: c", "# c", "&a", "*a", "!x", "[1:3]", "a[1:3]", "'", '"'),
        *("assumption", "production", "true", "null", "~", "2026-01-01", "0x10", "1e9", "  ", "é"),
        *("\u202e", "existing", "HW_CPU_X86_VMX", "x" * 90, "9" * 40),
    ]
)


def reads(draft: Draft) -> None:
    with tempfile.TemporaryDirectory() as home:
        imported(draft, Path(home) / "as-it-is")
        imported(with_capacity_from_load(draft, 1.25), Path(home) / "with-capacity")


VARIABLES = st.dictionaries(
    st.sampled_from([*sorted(ansible._USED), "other"]),
    WORDS | st.integers() | st.booleans() | st.none() | st.lists(WORDS, max_size=2),
    max_size=6,
)
OURS = st.fixed_dictionaries(
    {},
    optional={
        "architecture": WORDS,
        "site": WORDS,
        "rack": WORDS,
        "status": WORDS,
        "traits": st.lists(WORDS, max_size=2),
        "administrators": st.lists(WORDS, max_size=2),
        "capacity": st.dictionaries(st.sampled_from(["cores", "memory", "name"]), WORDS),
        "reserved": st.dictionaries(st.sampled_from(["cores", "memory"]), WORDS),
        "allocation_ratio": st.dictionaries(st.sampled_from(["cores", "memory"]), WORDS),
    },
)


@FEW
@given(st.dictionaries(WORDS, VARIABLES, min_size=1, max_size=5), OURS)
def test_any_inventory(hosts: dict[str, Any], ours: dict[str, Any]) -> None:
    next(iter(hosts.values()))["commonfarm"] = ours
    reads(ansible.read("i.json", json.dumps({"_meta": {"hostvars": hosts}}).encode()))


COLUMNS = {kind: used.split() for kind, used in netbox._USED.items()}


@FEW
@given(st.data())
def test_any_tables(data: st.DataObject) -> None:
    files = []
    for kind, columns in COLUMNS.items():
        rows = data.draw(st.lists(st.lists(WORDS, max_size=len(columns)), max_size=4), kind)
        text = "\n".join(
            ",".join('"' + cell.replace('"', '""') + '"' for cell in row)
            for row in [columns, *rows]
        )
        files.append((f"{kind}.csv", text.encode()))
    try:
        draft = netbox.read(files)
    except BadInputError:
        return
    reads(draft)


@FEW
@given(st.integers(0, 50), st.integers(), st.integers(1, 4))
def test_any_cluster(seed: int, otherwise: int, changes: int) -> None:
    choose = random.Random(otherwise)
    text = made_cluster(seed)
    for _ in range(changes):
        fields = text.split("|")
        fields[choose.randrange(len(fields))] = choose.choice(
            [
                "",
                "0",
                "1",
                "99999",
                "?",
                "Y",
                "a b",
                "…",
                "node-0",
                "node-1",
                "1.5",
                "0.001",
                "uuid",
            ]
        )
        text = "|".join(fields)
    try:
        draft = ganeti.read("c.data", text.encode())
    except BadInputError:
        return
    reads(draft)
