"""What a job may use on the builder that got it."""

from __future__ import annotations

from commonfarm.agent.protocol import Limits

PROCESSES = 4096
WALL_SECONDS = 6 * 3600
SILENCE_SECONDS = 90 * 60


def limits_for(
    *, memory_bytes: int, disk_bytes: int, slots: int, needed_memory: int, needed_disk: int
) -> Limits:
    """Share a builder's memory and disk (bytes) among its slots, a tenth kept for itself.

    A job that said what it needs gets at least that.
    """
    return Limits(
        memory_bytes=max(needed_memory, memory_bytes * 9 // 10 // max(1, slots)),
        processes=PROCESSES,
        disk_bytes=max(needed_disk, disk_bytes * 9 // 10 // max(1, slots)),
        wall_seconds=WALL_SECONDS,
        silence_seconds=SILENCE_SECONDS,
    )
