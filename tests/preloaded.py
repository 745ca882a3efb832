"""The modules of the processes that `tests.forked` forks, read once."""

from __future__ import annotations

from importlib import import_module

import django

django.setup()
for name in (
    "commonfarm.archive.provenance",
    "commonfarm.archive.signer.approve",
    "commonfarm.archive.signer.approve_manifest",
    "commonfarm.archive.signer.approve_map",
    "commonfarm.archive.signer.approve_push",
    "commonfarm.archive.signer.keys",
    "commonfarm.farm.election",
    "commonfarm.farm.polling",
    "granian.server.embed",
    "uvloop",
):
    import_module(name)
