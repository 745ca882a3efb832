"""The agent's command line."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from commonfarm.agent import lifetime, loop
from commonfarm.agent.errors import AgentError, BadInputError
from commonfarm.agent.state import DEFAULT, State

# Not the variable of the command line's API token, which must not be sent to whatever --hub says.
TOKEN_VARIABLE = "COMMONFARM_ENROLMENT_TOKEN"  # noqa: S105 - a name


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(prog="agent", description="Builds what a Commonfarm hub leases.")
    commands = top.add_subparsers(dest="command", required=True)
    enrol = commands.add_parser("enrol", help="spend a token for this builder's credential")
    enrol.add_argument("--hub", required=True, help="the hub's address: https://HOST[:PORT]")
    enrol.add_argument(
        "--token",
        default="",
        help=f"the token; `-` reads it from standard input. Without it, {TOKEN_VARIABLE} is read. "
        "Prefer these two: every user of this host can see a command line",
    )
    label = socket.gethostname().partition(".")[0].lower()
    enrol.add_argument("--name", default=label, help="this builder's name; default: %(default)s")
    run = commands.add_parser("run", help="ask for jobs and build them, until SIGTERM")
    clean = commands.add_parser("clean", help="remove what a killed agent left behind")
    for command in (enrol, run, clean):
        command.add_argument("--state", type=Path, default=DEFAULT, help="default: %(default)s")
    return top


def _token(given: str) -> str:
    token = sys.stdin.readline() if given == "-" else given or os.environ.get(TOKEN_VARIABLE, "")
    if not token.strip():
        raise BadInputError("there is no token; pass it on standard input with `--token -`")
    return token.strip()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 done, 1 no, 2 bad input, 3 hub not reached."""
    options = parser().parse_args(arguments)
    try:
        state = State(options.state)
        if options.command == "enrol":
            given = loop.enrol(state, options.hub, _token(options.token), options.name)
            print(f"enrolled as {given.builder}, generation {given.generation}")
            return 0
        loop.require_host()
        if options.command == "run":
            return lifetime.contained(lambda: loop.run(state))
        with state.locked():
            problems = loop.clean(state)
        for problem in problems:
            print(problem, file=sys.stderr)
        return 1 if problems else 0
    except AgentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"this host refuses: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
