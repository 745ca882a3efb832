"""The `commonfarm` command: one Typer application to which each context adds its own commands."""
