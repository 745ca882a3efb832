"""`commonfarm up`: from a configuration to processes that all answer, and back to none.

Each step observes first, so `up` that was killed between any two goes on where things are.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from commonfarm.installation import configure, launch, leftovers, status, unveil, users
from commonfarm.installation.errands import Errands, Say
from commonfarm.installation.supervised import Supervised
from commonfarm.installation.supervisor import Supervisor, stop_on_signals
from commonfarm.lib.config import Config
from commonfarm.lib.errors import ExitCode, Reason, RefusedError, UnreachableError
from commonfarm.lib.places import CONFIG_VARIABLE, INSTALLATION_VARIABLE, check_runtime

LEFTOVER_SECONDS = 15


def run(estate: Path | None) -> int:
    """Run the chosen installation in the foreground until Ctrl-C or SIGTERM."""
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - began:6.1f} s] {text}", markup=False)

    estate = estate.resolve() if estate else None
    os.umask(0o022)
    config = configure.find_or_make()
    os.environ[INSTALLATION_VARIABLE] = config.name
    os.environ[CONFIG_VARIABLE] = str(config.file)
    check_runtime(config.runtime)
    say(f"installation {config.name}, configured in {config.file}")
    config.state.mkdir(parents=True, exist_ok=True)
    held = status.hold(config)
    try:
        return _run(config, estate, console, say)
    finally:
        os.close(held)


def _run(config: Config, estate: Path | None, console: Console, say: Say) -> int:
    users.ensure()
    users.make_folders(config)
    places = {config.state, config.store, config.published, config.runtime, config.file.parent}
    if unveil.unveil([*unveil.code(), *places, *([estate] if estate else [])]):
        say("the code is below a folder closed to others: the processes see it through a mount")
    ended = leftovers.stop(leftovers.carries(config.state), signal.SIGTERM, LEFTOVER_SECONDS)
    if ended:
        say(f"{ended} processes that an earlier `up` left behind were stopped")
    configure.refuse_taken_ports(config)
    if not config.secret_key_file.exists():
        users.write_private(config.secret_key_file, secrets.token_urlsafe(50), users.WEB_GROUP)

    processes: list[Supervised] = []
    try:
        if config.database.embedded:
            processes.append(_start_database(config, say))
            say("PostgreSQL answers")
        sign_in = _prepare(config)
    except BaseException:
        Supervisor(config, processes, say).stop()
        raise
    say("the database is up to date")

    processes += [Supervised(process, config) for process in launch.services(config)]
    hub = next(one for one in processes if one.process.name == "hub")
    agent = Supervised(launch.agent(config), config, wanted=False)
    supervisor = Supervisor(config, [*processes, agent], say)
    stop_on_signals(supervisor)
    errands = Errands(config, hub, agent, estate, say)

    def when_ready() -> None:
        say("every process answers")
        _print_addresses(console, config, sign_in)

    supervisor.run(errands, when_ready)
    say("stopped")
    return int(ExitCode.DONE)


def _start_database(config: Config, say: Say) -> Supervised:
    """Return the embedded PostgreSQL once it answers; UnreachableError says why it does not."""
    server = launch.embedded_postgres(config)
    server.prepare()
    database = Supervised(launch.postgres(server), config)
    database.start()
    assert database.running is not None
    try:
        server.wait_until_ready(database.running)
    except UnreachableError:
        # What it said goes to its log, and what tells most into its last error.
        Supervisor(config, [database], say).stop()
        text = f"PostgreSQL did not start: it {database.last_error}"
        log = config.state / "log" / "postgres.log"
        raise UnreachableError(
            Reason("database-did-not-start", text, f"{log} has the whole of it")
        ) from None
    reader = (config.database.signer_user,)
    server.create(config.database.name, config.database.user, readers=reader)
    return database


def _prepare(config: Config) -> str:
    """Bring the database up to date in a process of its own; return the sign-in link's path."""
    done = subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", "prepare"],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word"]
        log = config.state / "log" / "prepare.log"
        log.write_text(done.stderr, encoding="utf-8")
        raise RefusedError(
            Reason("not-prepared", said[-1], "" if len(said) == 1 else f"{log} has the whole of it")
        )
    return str(json.loads(done.stdout.splitlines()[-1])["sign_in"])


def _print_addresses(console: Console, config: Config, sign_in: str) -> None:
    for what, where in (
        ("pages", config.public_url("hub")),
        ("sign in once", config.public_url("hub") + sign_in),
        ("downloads", config.public_url("redirector")),
        ("builders ask at", config.public_url("scheduler")),
        ("logs", str(config.state / "log")),
    ):
        # Never folded into a table: links are copied from here.
        console.print(f"  {what:<16} {where}", markup=False)
    console.print("Ctrl-C stops it.")
