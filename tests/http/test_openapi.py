"""The whole API under fuzzing: it never breaks, and answers as its description says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.mirrors.models import Redirector
from commonfarm.store.interface import start_upload
from commonfarm.web.urls import api
from tests.farm.test_agent_api import give
from tests.farm.world import Agent, make_job, make_project, make_target
from tests.web import world
from tests.web.served import Served, served

# So much work, not so much time: every operation is called on a slow machine, too.
EXAMPLES = 400 if os.environ.get("COMMONFARM_LONG_STORIES") else 20
TIMEOUT_SECONDS = 1200
AGENT, COUNTS = "^/api/v1/agent/", "^/api/v1/mirrors/counts$"
# 507 is an honest answer to an upload that no disk of ours holds.
SETTINGS = """
headers = { Authorization = "Bearer ${TOKEN}" }
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 507]
"""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


@pytest.mark.story
@pytest.mark.django_db(transaction=True)
def test_the_api_holds_under_fuzzing(tmp_path: Path) -> None:
    with transaction.atomic():
        admin = User.add("fuzzer", Role.ADMIN, who="user:root")
        token = ApiToken.make(admin, "fuzzing", who="user:root").reveal()
        # Far from the numbers that fuzzing tries to revoke.
        ApiToken.objects.update(id=2**40 + 7)
    world.fill(6)
    with served(tmp_path, "hub") as site:
        others = ("--exclude-path-regex", f"{AGENT}|{COUNTS}")
        answered = fuzz(site, tmp_path, token, SETTINGS, EXAMPLES, *others)
        credential, settings = a_builder_at_work(tmp_path)
        answered |= fuzz(
            site, tmp_path, credential, settings, 4 * EXAMPLES, "--include-path-regex", AGENT
        )
        edge = Redirector.add("edge", who="user:root", now=timezone.now()).reveal()
        answered |= fuzz(site, tmp_path, edge, SETTINGS, EXAMPLES, "--include-path-regex", COUNTS)
    operations = {
        f"{method.upper()} {path}"
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method in methods
    }
    let_in = {operation for operation, found in answered.items() if found - {401}}
    assert operations - let_in == set(), "not called, or answered by 401 only"


def a_builder_at_work(folder: Path) -> tuple[str, str]:
    """Return a builder's credential, and settings that speak of its lease and a file of that."""
    agent = Agent.enrol("fuzzed")
    job = make_job(make_project(make_target(folder / "keyring", "fuzzed"), name="fuzzed"))
    lease = give(agent, job)
    file = job.build.source.files.first()
    assert file is not None
    start_upload(lease.label, file.blob_id, 2**20)
    return (
        agent.credential,
        f'parameters = {{ lease_id = {lease.pk}, sha256 = "{file.blob_id}" }}\n' + SETTINGS,
    )


def fuzz(
    site: Served, folder: Path, token: str, settings: str, examples: int, *which: str
) -> dict[str, set[int]]:
    """Let schemathesis call the operations `which` as the bearer of `token`.

    Returns the statuses that each operation was answered with.
    """
    (folder / "schemathesis.toml").write_text(settings)
    report = folder / "report.ndjson"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{site.hub}/api/v1/openapi.json",
            *("--checks", ",".join(CHECKS)),
            *("--max-examples", str(examples)),
            *("--phases", "examples,coverage,fuzzing"),
            *("--continue-on-failure", "--workers", "1", "--no-color"),
            *("--request-timeout", "10", "--report", "ndjson"),
            *("--report-ndjson-path", str(report)),
            *which,
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "TOKEN": token},
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return statuses(report)


def statuses(report: Path) -> dict[str, set[int]]:
    """Return the statuses that each operation was answered with, other methods left out."""
    found: dict[str, set[int]] = {}
    for line in report.read_text().splitlines():
        scenario: dict[str, Any] = json.loads(line).get("ScenarioFinished", {})
        recorder = scenario.get("recorder", {})
        label = recorder.get("label", "")
        for call in recorder.get("interactions", {}).values():
            if call["response"] is not None and label.startswith(call["request"]["method"] + " "):
                found.setdefault(label, set()).add(call["response"]["status_code"])
    return found
