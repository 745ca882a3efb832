"""A pool, and the port that the farm fills."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from commonfarm.agent.protocol import EnrolRequest, Facts
from commonfarm.estate.interface import Pool
from commonfarm.fleet.interface import Builder, enrol, make_enrolment_token, ports

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def pool(db: None) -> Pool:
    return Pool.objects.create(name="local", architecture="amd64")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Note which generations the fleet says are over, as the farm would be told."""
    told: list[tuple[str, int]] = []

    def note(builder: Builder, ended: int, now: datetime) -> None:
        told.append((builder.name, ended))

    monkeypatch.setattr(ports.generation_ended, "_filled_by", note)
    yield told


def facts(**changed: object) -> Facts:
    values: dict[str, object] = {
        "architecture": "amd64",
        "cores": 4,
        "memory_bytes": 8 << 30,
        "disk_bytes": 100 << 30,
        "features": ["runc"],
        "limits": {"memory": "cgroup2"},
        "agent_version": "0.1.0",
    }
    return Facts(**(values | changed))  # type: ignore[arg-type]


def request(token: str, name: str = "b1", **changed: object) -> EnrolRequest:
    return EnrolRequest(token=token, name=name, facts=facts(**changed))


def token(pool: Pool, now: datetime = NOW) -> str:
    return make_enrolment_token(pool, who="user:anna", now=now).reveal()


def enrolled(pool: Pool, name: str = "b1", now: datetime = NOW) -> tuple[Builder, str]:
    """Enrol a builder and return it with its credential."""
    answer = enrol(request(token(pool, now), name), now)
    return Builder.named(answer.builder), answer.credential
