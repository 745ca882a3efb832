"""What a builder says of itself, checked for shape and size. It stays a claim: nothing here makes
it true.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from commonfarm.agent.protocol import PROTOCOL, EnrolRequest, Facts
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_:-]{0,63}")
_MOST_WORDS = 64
_MOST = 2**53


def check_name(name: str) -> None:
    """Raise BadInputError unless `name` is one label of a host name (RFC 1123)."""
    if not _NAME.fullmatch(name):
        raise BadInputError(
            Problem(
                "name",
                0,
                0,
                f"{name[:80]!r} cannot be a builder's name",
                "use up to 63 small letters, digits and hyphens",
            )
        )


def check_protocol(spoken: int) -> None:
    """Raise RefusedError when an agent speaks another protocol than the hub."""
    if spoken != PROTOCOL:
        raise RefusedError(
            Reason(
                "other-protocol",
                f"the agent speaks protocol {spoken}, and this hub speaks {PROTOCOL}",
                "fetch the agent anew from the hub, at /api/v1/agent/zipapp",
            )
        )


def check_facts(facts: Facts) -> None:
    """Raise BadInputError that lists every fact that cannot be one."""
    problems = [
        Problem(f"facts.{where}", 0, 0, what, to_do) for where, what, to_do in _wrong(facts)
    ]
    if problems:
        raise BadInputError(*problems)


def check_request(request: EnrolRequest) -> None:
    """Check all of an enrolment but its token."""
    check_protocol(request.facts.protocol)
    check_name(request.name)
    check_facts(request.facts)


def _wrong(facts: Facts) -> list[tuple[str, str, str]]:
    found = []
    for field, least in (("cores", 1), ("memory_bytes", 0), ("disk_bytes", 0)):
        value = getattr(facts, field)
        if not least <= value <= _MOST:
            found.append((field, f"is {value}", f"send a number from {least} to {_MOST}"))
    words = {
        "architecture": [facts.architecture],
        "features": facts.features,
        "limits": [*facts.limits.keys(), *facts.limits.values()],
        "agent_version": [facts.agent_version] if facts.agent_version else [],
    }
    for field, values in words.items():
        if len(values) > _MOST_WORDS:
            found.append((field, f"has {len(values)} parts", f"send at most {_MOST_WORDS}"))
        elif bad := [value for value in values if not _WORD.fullmatch(value)]:
            found.append((field, f"has {bad[0][:80]!r}", "send short words without spaces"))
    return found


def columns(facts: Facts) -> dict[str, Any]:
    """Return the columns of a builder's row that its facts fill.

    The architecture is not one of them: it is fixed by the pool for the whole generation.
    """
    return {
        "features": sorted(set(facts.features)),
        "cores": facts.cores,
        "memory_bytes": facts.memory_bytes,
        "disk_bytes": facts.disk_bytes,
        "facts": asdict(facts),
    }
