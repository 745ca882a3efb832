"""What `up` does through its own hub once that answers: load the estate, enrol the local builder.

They run in a thread of their own, so that a slow answer holds up nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commonfarm.agent.zipapp import build_zipapp
from commonfarm.http.client import HubClient
from commonfarm.http.session import token_file
from commonfarm.installation import checks, configure
from commonfarm.installation.launch import agent_files, is_listened_to_by
from commonfarm.installation.supervised import Supervised
from commonfarm.installation.users import separate, user_of
from commonfarm.lib.config import Config
from commonfarm.lib.errors import (
    CommonfarmError,
    NotFoundError,
    Reason,
    RefusedError,
    UnreachableError,
)
from commonfarm.lib.secret import Secret

BUILDER = "local"
POOL = "local"
ENROL_SECONDS = 60
RETRY_SECONDS = 3.0

Say = Callable[[str], None]


class Errands(threading.Thread):
    """Loads the estate once, then sees to it that the local builder may run.

    `failed` holds the error of an estate that could not be loaded: `up` was asked for it, so it
    ends by it. `done` says that the estate, if one was asked for, is loaded; `wants_builder`, that
    the estate has a pool for the local builder.
    """

    def __init__(
        self, config: Config, hub: Supervised, agent: Supervised, estate: Path | None, say: Say
    ) -> None:
        super().__init__(name="errands", daemon=True)
        self.failed: CommonfarmError | None = None
        self.done = estate is None
        self.wants_builder = estate is not None
        self._config = config
        self._hub = hub
        self._agent = agent
        self._estate = estate
        self._say = say
        self._ending = threading.Event()

    def end(self) -> None:
        """Start nothing more."""
        self._ending.set()

    def run(self) -> None:
        """Work until `end`."""
        while not self._ending.wait(0.2):
            if not self._hub.answers:
                continue
            try:
                if not self.done:
                    self._load_estate()
                elif not self._agent.wanted:
                    self._make_builder_ready()
            except CommonfarmError as error:
                if not self.done and not isinstance(error, UnreachableError):
                    self.failed = error
                    return
                self._wait_for(error.reason)
            except Exception as error:
                # Whatever a stranger on a port answers, or a full disk does: we must live on.
                text = f"{type(error).__name__}: {error}"
                self._wait_for(Reason("errand-failed", text, "it tries again"))

    def _wait_for(self, reason: Reason) -> None:
        """Say once why it does not go on, and give that some time to change."""
        if self._agent.waits_for != str(reason):
            self._agent.waits_for = str(reason)
            self._say(f"the {'local builder' if self.done else 'estate'} waits: {reason}")
        self._ending.wait(RETRY_SECONDS)

    def _client(self) -> HubClient:
        """Return a client with the admin's token, which only our own hub may be given."""
        token = token_file(self._config).read_text(encoding="ascii").strip()
        listen = self._config.listen
        if not is_listened_to_by(user_of("hub"), listen.address, listen.hub):
            raise UnreachableError(configure.port_taken(self._config, "hub"))
        return HubClient(self._config.url("hub"), Secret(token))

    def _load_estate(self) -> None:
        assert self._estate is not None
        self._client().post("/estate/load", {"directory": str(self._estate)})
        self._say(f"the estate {self._estate} is loaded")
        self.done = True

    def _make_builder_ready(self) -> None:
        client = self._client()
        pools = client.get("/estate/pools")
        names = [one["name"] for one in (pools if isinstance(pools, list) else pools["items"])]
        self.wants_builder = POOL in names
        if not self.wants_builder:
            self._wait_for(
                Reason(
                    "no-local-pool",
                    f"the estate has no pool named {POOL}",
                    "the local builder starts when it has",
                )
            )
            return
        if not separate():
            found, mended_by = checks.sudo()
            if mended_by:
                raise RefusedError(Reason("no-root-for-builder", found, mended_by))
        zipapp, state = agent_files(self._config)
        partial = zipapp.with_suffix(".partial")
        partial.write_bytes(build_zipapp())
        partial.chmod(0o644)
        partial.rename(zipapp)
        if not self._credential_is_good(client, state):
            self._enrol(client)
        self._agent.waits_for = ""
        self._agent.wanted = True

    def _credential_is_good(self, client: HubClient, state: Path) -> bool:
        """Say whether the builder has a credential of the generation that the hub knows."""
        try:
            kept: dict[str, Any] = json.loads(_read_as_root(state / "credential.json"))
            known = client.get(f"/fleet/builders/{BUILDER}")
        except (OSError, ValueError, NotFoundError):
            return False
        scheduler = self._config.public_url("scheduler")
        return (
            kept.get("builder") == BUILDER
            and kept.get("generation") == known["generation"]
            and kept.get("scheduler_urls") == [scheduler]
        )

    def _enrol(self, client: HubClient) -> None:
        token = client.post("/fleet/enrolment-tokens", {"pool": POOL})["token"]
        zipapp, state = agent_files(self._config)
        try:
            done = subprocess.run(
                [
                    *([] if separate() else ["sudo", "-n"]),
                    "/usr/bin/python3",
                    str(zipapp),
                    "enrol",
                    f"--hub={client.url}",
                    "--token=-",
                    f"--name={BUILDER}",
                    f"--state={state}",
                ],
                input=token.encode(),
                capture_output=True,
                cwd="/",
                timeout=ENROL_SECONDS,
                check=False,
            )
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            said = f"its agent did not end within {ENROL_SECONDS} s"
        else:
            if done.returncode == 0:
                self._say("the local builder is enrolled")
                return
        raise UnreachableError(
            Reason("builder-not-enrolled", f"it could not be enrolled: {said}", "it tries again")
        )


def _read_as_root(file: Path) -> str:
    if os.access(file, os.R_OK) or separate():
        return file.read_text(encoding="utf-8")
    done = subprocess.run(
        ["sudo", "-n", "cat", str(file)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FileNotFoundError(file)
    return done.stdout
