"""`commonfarm tree`: what users see, and how it gets there."""

from __future__ import annotations

import typer

from commonfarm.archive.verbs import adopting, looking, putting, releasing
from commonfarm.archive.verify_cli import verify

app = typer.Typer()
tree = typer.Typer(
    help="Release trees: what users see, and how it gets there.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(tree, name="tree")

tree.command("list")(looking.list_trees)
tree.command()(looking.show)
tree.command()(putting.put)
tree.command()(releasing.review)
tree.command()(releasing.publish)
tree.command()(releasing.withdraw)
tree.command()(releasing.rollback)
tree.command()(releasing.link)
tree.command()(putting.promote)
tree.command()(adopting.adopt)
tree.command()(looking.diff)
tree.command()(looking.history)
tree.command()(verify)
