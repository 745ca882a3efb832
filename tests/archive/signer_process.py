"""Runs the real signer; only the farm's word for a producer is a file that a test writes.

A producer named in the file `disowned` of the installation's state is not vouched for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from commonfarm.archive.signer import process
from commonfarm.lib.config import Config, current
from commonfarm.lib.errors import Reason


def main() -> None:
    config = current()
    start = process._start_django

    def start_with_ports(config: Config) -> None:
        start(config)
        from commonfarm.archive import ports

        def vouch(claims: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Reason]:
            file = config.state / "disowned"
            disowned = file.read_text().split() if file.exists() else []
            return {
                one: Reason("no", "no lease brought it") for one in claims if one[0] in disowned
            }

        ports.vouch.fill(vouch)

    process._start_django = start_with_ports
    process.run(config)
