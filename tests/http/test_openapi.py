"""The whole API under fuzzing: it never breaks, and answers as its description says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import transaction

from commonfarm.accounts.interface import ApiToken, Role, User
from tests.web import world
from tests.web.served import served

SECONDS = 300 if os.environ.get("COMMONFARM_LONG_STORIES") else 30
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
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    report = tmp_path / "report.ndjson"
    with served(tmp_path, "hub") as site:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"{site.hub}/api/v1/openapi.json",
                *("--checks", ",".join(CHECKS)),
                *("--max-examples", "25", "--max-time", str(SECONDS)),
                *("--phases", "examples,coverage,fuzzing"),
                *("--continue-on-failure", "--workers", "1", "--no-color"),
                *("--request-timeout", "10", "--report", "ndjson"),
                *("--report-ndjson-path", str(report)),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS + 60,
            cwd=tmp_path,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "TOKEN": token},
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    calls = sum(1 for line in report.read_text().splitlines() if json.loads(line))
    assert calls > 50, done.stdout[-3000:]
