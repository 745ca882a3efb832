"""The signer's keys: an OpenPGP key in a gpg home, and an ed25519 key for statements and maps.

Both are made on first use, in a directory that only the signer's user may enter. They have no
passphrase: whoever is that user has the keys in any case. OpenPGP: ed25519 with SHA-512, which
gpgv (Debian 12) and sqv (Debian 13) accept.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, UnreachableError

_PARAMETERS = """%no-protection
Key-Type: eddsa
Key-Curve: ed25519
Key-Usage: sign
Name-Real: Commonfarm {name}
Name-Comment: archive signing key
Expire-Date: 0
%commit
"""


class Keys:
    """The keys of one installation."""

    def __init__(self, config: Config) -> None:
        self._name = config.name
        self._folder = config.keyring / "gnupg"
        # gpg's agent makes sockets below its home, whose paths must be short: the folder of our own
        # socket is, wherever the state lies.
        self._home = config.signer_socket.parent / "gnupg"
        self._statements = config.keyring / "statements.key"
        self._public = config.public_keys
        self._private: Ed25519PrivateKey | None = None

    def prepare(self) -> None:
        """Make what is missing, write the public halves, and leave no gpg-agent behind."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._home.unlink(missing_ok=True)
        self._home.symlink_to(self._folder, target_is_directory=True)
        if not self.fingerprint():
            with self.agent():
                self._gpg("--generate-key", "-", data=_PARAMETERS.format(name=self._name).encode())
        if not self._statements.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
            _write(self._statements, pem, 0o600)
        self._public.mkdir(parents=True, exist_ok=True)
        _write(self._public / "archive.asc", self._gpg("--armor", "--export"), 0o644)
        _write(self._public / "archive.gpg", self._gpg("--export"), 0o644)
        pem = self.statements.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        _write(self._public / "statements.pub", pem, 0o644)

    def fingerprint(self) -> str:
        """Return the OpenPGP key's fingerprint, empty when there is none yet."""
        listed = self._gpg("--with-colons", "--list-keys").decode()
        found = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")]
        return found[0] if found else ""

    @property
    def statements(self) -> Ed25519PrivateKey:
        """The key of statements and mirror maps."""
        if self._private is None:
            key = load_pem_private_key(self._statements.read_bytes(), None)
            assert isinstance(key, Ed25519PrivateKey)
            self._private = key
        return self._private

    @contextlib.contextmanager
    def agent(self) -> Iterator[None]:
        """Let gpg start its agent, which signs; it ends with the block.

        An agent left behind would keep the key in memory after the signer has ended.
        """
        try:
            yield
        finally:
            subprocess.run(
                ["gpgconf", "--homedir", str(self._home), "--kill", "gpg-agent"],
                env=self._environment,
                capture_output=True,
                check=False,
                timeout=20,
            )

    def clear_sign(self, text: bytes) -> bytes:
        """Return `text` with its signature around it: an InRelease. Within `agent`."""
        return self._gpg("--clear-sign", data=text)

    def detached(self, text: bytes) -> bytes:
        """Return the armored signature of `text`: a Release.gpg. Within `agent`."""
        return self._gpg("--armor", "--detach-sign", data=text)

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self._home)}

    def _gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        common = ["--batch", "--no-tty", "--quiet", "--digest-algo", "SHA512"]
        if arguments[0] == "--with-colons" or "--export" in arguments:
            common.append("--no-autostart")
        done = subprocess.run(
            ["gpg", "--homedir", str(self._home), *common, *arguments],
            input=data,
            capture_output=True,
            env=self._environment,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise UnreachableError(
                Reason(
                    "gpg-failed",
                    f"gpg failed: {done.stderr.decode(errors='replace').strip()[:500]}",
                    "see the signer's log, and whether its key is whole",
                )
            )
        return done.stdout


def _write(file: Path, data: bytes, mode: int) -> None:
    """Replace `file` in one step, unless it holds `data` already; synced."""
    if file.exists() and file.read_bytes() == data:
        return
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(out.fileno(), mode)
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
