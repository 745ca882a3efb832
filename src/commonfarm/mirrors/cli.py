"""`commonfarm mirror`: the registry of mirrors, and why a download goes where it goes."""

from __future__ import annotations

import typer

from commonfarm.mirrors.verbs import files, overriding, pushing, receiving, redirectors, registry

app = typer.Typer()
mirror = typer.Typer(
    help="Mirrors, and where downloads are sent.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(mirror, name="mirror")
mirror.add_typer(overriding.override, name="override")
mirror.add_typer(redirectors.redirector, name="redirector")

mirror.command()(registry.add)
mirror.command()(registry.edit)
mirror.command()(registry.remove)
mirror.command()(registry.enable)
mirror.command()(registry.disable)
mirror.command()(registry.prove)
mirror.command()(registry.vouch)
mirror.command()(registry.scan)
mirror.command()(registry.probe)
mirror.command()(registry.audit)
mirror.command("lift-quarantine")(registry.lift_quarantine)
mirror.command("list")(registry.list_mirrors)
mirror.command()(registry.show)
mirror.command("push-key")(pushing.push_key)
mirror.command("trust-host-key")(pushing.trust_host_key)
mirror.command("rsync-password")(receiving.rsync_password)
# What follows the command's name is the command's, options too.
mirror.command(context_settings={"allow_interspersed_args": False})(receiving.receive)
mirror.command()(files.explain)
mirror.command()(files.replay)
