"""How a command of the CLI reaches the hub of its installation. No Django."""

from __future__ import annotations

import os
from pathlib import Path

from commonfarm.agent.errors import BadInputError as BadAddressError
from commonfarm.agent.hub import checked_url
from commonfarm.http.client import HubClient
from commonfarm.lib.config import Config
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.places import find
from commonfarm.lib.secret import Secret

TOKEN_VARIABLE = "COMMONFARM_TOKEN"  # noqa: S105 - a name
URL_VARIABLE = "COMMONFARM_HUB"


def token_file(config: Config) -> Path:
    """Return the file in which `up` leaves an API token for the user who ran it."""
    return config.state / "cli-token"


def hub() -> HubClient:
    """Return the client of the chosen installation's hub.

    With `COMMONFARM_HUB` and `COMMONFARM_TOKEN` set it is that hub, so the command line works from
    any machine; BadInputError when the first is set without the second, or is plain HTTP to another
    machine. Otherwise the token is the one that `commonfarm up` left for the user who ran it;
    RefusedError when that is another user.
    """
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if url and not token:
        raise _bad_address(
            f"it is set, and {TOKEN_VARIABLE} is not",
            f"set {TOKEN_VARIABLE} to an API token of that hub, or unset {URL_VARIABLE}",
        )
    if url and token:
        try:
            return HubClient(checked_url(url), Secret(token))
        except (BadAddressError, ValueError) as error:
            raise _bad_address(str(error), "") from None
    config = find()
    if token:
        return HubClient(config.url("hub"), Secret(token))
    try:
        kept = token_file(config).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise RefusedError(
            Reason(
                "never-started",
                f"the installation {config.name} was never started",
                f"run `commonfarm --installation {config.name} up`",
            )
        ) from None
    except PermissionError:
        raise RefusedError(
            Reason(
                "not-your-token",
                f"the API token of {config.name} belongs to the user who started it",
                f"set {TOKEN_VARIABLE} to a token of your own, or become that user",
            )
        ) from None
    return HubClient(config.url("hub"), Secret(kept))


def _bad_address(what: str, to_do: str) -> BadInputError:
    return BadInputError(Problem(URL_VARIABLE, 0, 0, what, to_do))
