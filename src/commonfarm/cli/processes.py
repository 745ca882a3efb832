"""The commands that are the processes of an installation. `commonfarm up` starts them all."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer

from commonfarm.lib.config import Config
from commonfarm.lib.places import CONFIG_VARIABLE, find

app = typer.Typer()
PANEL = "Processes (started by `up`, or one by one on several machines)"


def _start() -> Config:
    """Make this process one of the installation and return its configuration."""
    config = find()
    os.environ[CONFIG_VARIABLE] = str(config.file)
    os.environ["DJANGO_SETTINGS_MODULE"] = "commonfarm.web.settings"
    return config


def _run(target: str, *arguments: Any, **named: Any) -> None:
    """Import `module:function` only now, so that `--help` needs none of it, and run it."""
    module, _, function = target.partition(":")
    getattr(import_module(module), function)(*arguments, **named)


@app.command(rich_help_panel=PANEL)
def hub() -> None:
    """Serve the pages and the API."""
    _run("commonfarm.web.serve:hub", _start())


@app.command(rich_help_panel=PANEL)
def live() -> None:
    """Serve the streams: logs and journal as they grow."""
    _run("commonfarm.web.serve:live", _start())


@app.command(rich_help_panel=PANEL)
def scheduler() -> None:
    """Answer the builders that ask for work."""
    _run("commonfarm.farm.dispatch:serve", _start())


@app.command(rich_help_panel=PANEL)
def worker() -> None:
    """Do the background work: publishing, scans, sweeps."""
    _run("commonfarm.guard.worker:run", _start())


@app.command(rich_help_panel=PANEL)
def operator() -> None:
    """Do what takes a key to other machines: tell mirrors by SSH to pull."""
    _run("commonfarm.mirrors.operator:run", _start())


@app.command(rich_help_panel=PANEL)
def signer() -> None:
    """Sign what the database says was built and approved."""
    _run("commonfarm.archive.signer.process:run", _start())


@app.command(rich_help_panel=PANEL)
def redirector() -> None:
    """Answer downloads: send them to mirrors, or serve them."""
    config = find()
    everywhere = config.listen.address in ("0.0.0.0", "::")  # noqa: S104 - only compared
    # Clients know an address that is none by another, which each of them tells.
    public = config.public.redirector or ("" if everywhere else config.url("redirector"))
    options = [
        ("address", config.listen.address),
        ("port", config.listen.redirector),
        ("published", config.published),
        ("mirror-map", config.mirror_map.parent),
        ("public-key", config.public_keys / "statements.pub"),
        ("spool", config.counts),
        *([("public", public)] if public else []),
        *(("trusted-proxy", network) for network in config.public.trusted_proxies),
        *(("places", file) for file in config.places),
    ]
    # As a program of its own it goes without what this one is made of: 12 MB for all its life.
    command = [sys.executable, "-P", "-m", "commonfarm.redirector"]
    os.execv(sys.executable, [*command, *(f"--{name}={value}" for name, value in options)])  # noqa: S606


@app.command(hidden=True)
def prepare() -> None:
    """Bring the database up to date before the processes start; `up` calls it."""
    _run("commonfarm.installation.prepare:run", _start())
