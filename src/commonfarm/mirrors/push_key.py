"""The key by which mirrors let us in to tell them to pull. Without Django, which is not up yet when
it is made.
"""

from __future__ import annotations

import os
from pathlib import Path

import asyncssh


def prepare_key(folder: Path) -> None:
    """Make the key if there is none; its public half may be read by everyone."""
    private, public = folder / "push-key", folder / "push-key.pub"
    if not private.exists():
        key = asyncssh.generate_private_key("ssh-ed25519", comment="commonfarm push")
        partial = private.with_name(".push-key.partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(key.export_private_key())
            out.flush()
            os.fsync(out.fileno())
        partial.replace(private)
    written = asyncssh.read_private_key(private).export_public_key()
    if not public.exists() or public.read_bytes() != written:
        public.write_bytes(written)
        public.chmod(0o644)
