"""What the redirector tells Prometheus of itself (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Outcome(StrEnum):
    """How a request ended."""

    REDIRECTED = "redirected"
    SERVED = "served"
    NOT_MODIFIED = "not-modified"
    METALINK = "metalink"
    LIST = "list"
    HASH = "hash"
    STATUS = "status"
    NOT_FOUND = "not-found"
    REFUSED = "refused"
    BUSY = "busy"


@dataclass(slots=True)
class Metrics:
    """Sums since the start of the process."""

    redirected: int = 0
    redirected_bytes: int = 0
    served_bytes: int = 0
    reload_failures: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    def count(self, outcome: Outcome) -> None:
        """Count one request that ended so; redirects count themselves, in `redirected`."""
        self.outcomes[outcome] += 1

    def requests(self) -> dict[str, int]:
        """Return how many requests ended how."""
        sums = {str(outcome): number for outcome, number in self.outcomes.items()}
        sums[Outcome.REDIRECTED] += self.redirected
        return sums


@dataclass(frozen=True, slots=True)
class Now:
    """What is measured at this moment."""

    generation: int
    map_age_seconds: float
    mirrors_up: Mapping[str, int]
    mirrors: Mapping[str, int]
    connections: int
    transfers: int
    most_transfers: int
    counts_lost: int


def render(metrics: Metrics, now: Now) -> bytes:
    """Return all of it as Prometheus reads it."""
    lines: list[str] = []

    def add(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> None:
        lines.append(f"# HELP commonfarm_redirector_{name} {text}")
        lines.append(f"# TYPE commonfarm_redirector_{name} {kind}")
        lines.extend(
            f"commonfarm_redirector_{name}{labels} {value:.17g}" for labels, value in values
        )

    def single(name: str, kind: str, text: str, value: float) -> None:
        add(name, kind, text, [("", value)])

    add(
        "requests_total",
        "counter",
        "Requests by how they ended.",
        [(f'{{outcome="{name}"}}', number) for name, number in metrics.requests().items()],
    )
    single(
        "redirected_bytes_total",
        "counter",
        "Bytes of the files that clients were sent to mirrors for.",
        metrics.redirected_bytes,
    )
    single(
        "served_bytes_total", "counter", "Bytes of files we served ourselves.", metrics.served_bytes
    )
    single("connections", "gauge", "Open connections.", now.connections)
    single("transfers", "gauge", "Files that are being served by ourselves.", now.transfers)
    single("transfers_limit", "gauge", "How many of these there may be.", now.most_transfers)
    single("map_generation", "gauge", "Generation of the mirror map in force.", now.generation)
    single(
        "map_age_seconds", "gauge", "Time since the map in force was written.", now.map_age_seconds
    )
    single(
        "map_reload_failures_total",
        "counter",
        "Mirror maps that were refused.",
        metrics.reload_failures,
    )
    for name, text, values in (
        ("mirrors", "Mirrors in the map.", now.mirrors),
        ("mirrors_up", "Mirrors in the map that serve.", now.mirrors_up),
    ):
        add(name, "gauge", text, [(f'{{tree="{_label(key)}"}}', n) for key, n in values.items()])
    single("counts_lost_total", "counter", "Counts that could not be kept.", now.counts_lost)
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
