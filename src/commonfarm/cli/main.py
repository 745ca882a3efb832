"""The `commonfarm` command.

Each context's `cli.py` brings an `app`, mounted here without a name of its own: its nouns and
commands stand at the top. None of them imports Django, so `--help` stays quick.

What every command keeps to: errors of `lib.errors` are printed as they stand, on the error output,
and end with their exit code; reading commands take `--json` and print the API's answer.
"""

from __future__ import annotations

import errno
import os
import pwd
import sys

import typer

from commonfarm import __version__
from commonfarm.accounts import cli as accounts
from commonfarm.archive import cli as archive
from commonfarm.archive import tree_cli as trees
from commonfarm.cli import processes
from commonfarm.estate import cli as estate
from commonfarm.farm import cli as farm
from commonfarm.fleet import cli as fleet
from commonfarm.installation import cli as installation
from commonfarm.journal import cli as journal
from commonfarm.lib.errors import CommonfarmError, ExitCode
from commonfarm.lib.places import CONFIG_VARIABLE, INSTALLATION_VARIABLE
from commonfarm.mirrors import cli as mirrors

app = typer.Typer(
    name="commonfarm",
    help="Runs the infrastructure of a free-software project.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _room in (
    installation,
    estate,
    fleet,
    farm,
    archive,
    trees,
    mirrors,
    journal,
    accounts,
    processes,
):
    app.add_typer(_room.app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"commonfarm {__version__}")
        raise typer.Exit


@app.callback()
def choose(
    installation: str = typer.Option(
        "",
        metavar="NAME",
        envvar=INSTALLATION_VARIABLE,
        help="Which installation is meant; needed only where more than one is configured.",
    ),
    _version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Print the version."
    ),
) -> None:
    """Remember the chosen installation for `lib.places.find`, here and in our children."""
    if installation:
        os.environ[INSTALLATION_VARIABLE] = installation
        os.environ.pop(CONFIG_VARIABLE, None)


def main() -> None:
    """Run the command line; the exit code says how it went (`lib.errors.ExitCode`)."""
    try:
        app()
    except CommonfarmError as error:
        typer.echo(str(error), err=True)
        sys.exit(int(error.exit_code))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # Of a file, or of a full disk: anything else is a fault of ours, and its traceback helps.
        if not error.filename and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        if isinstance(error, PermissionError):
            user = pwd.getpwuid(os.getuid()).pw_name
            said = (
                f"{error.filename}: {user} has no access to it; run this as its owner, or open it"
                f" to {user}"
            )
        typer.echo(said, err=True)
        sys.exit(int(ExitCode.NO))


if __name__ == "__main__":
    main()
