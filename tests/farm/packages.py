"""Real source packages for tests, made by dpkg-source and signed by gpg."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONTROL = """\
Source: greeting
Section: misc
Priority: optional
Maintainer: Anna Tester <anna@example.org>
Build-Depends: debhelper-compat (= 13)
Standards-Version: 4.6.2

Package: greeting
Architecture: any
Description: says hello
 It greets.
"""
CHANGELOG = """\
greeting ({version}) unstable; urgency=medium

  * A change.

 -- Anna Tester <anna@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""


def make_source(into: Path, version: str = "1.0-1", text: str = "hello\n") -> Path:
    """Make the source package `greeting`, quilt if `version` has a revision; return its .dsc."""
    upstream = version.rpartition("-")[0]
    folder = into / f"greeting-{upstream or version}"
    folder.mkdir(parents=True)
    (folder / "greeting.txt").write_text(text)
    if upstream:
        tarball = into / f"greeting_{upstream}.orig.tar.gz"
        subprocess.run(["tar", "-czf", tarball, "-C", into, folder.name], check=True)
    debian = folder / "debian"
    (debian / "source").mkdir(parents=True)
    (debian / "source" / "format").write_text("3.0 (quilt)\n" if upstream else "3.0 (native)\n")
    (debian / "control").write_text(CONTROL)
    (debian / "changelog").write_text(CHANGELOG.format(version=version))
    (debian / "rules").write_text("#!/usr/bin/make -f\n%:\n\tdh $@\n")
    (debian / "rules").chmod(0o755)
    subprocess.run(["dpkg-source", "-b", folder.name], cwd=into, check=True, capture_output=True)
    return into / f"greeting_{version}.dsc"


def files_of(dsc: Path) -> dict[str, Path]:
    """Return the files beside `dsc` that are parts of the source package, itself left out."""
    return {
        path.name: path for path in dsc.parent.iterdir() if path.is_file() and ".tar." in path.name
    }


@dataclass(frozen=True, slots=True)
class Signer:
    """An OpenPGP key of its own, in a home of its own."""

    home: Path
    keyring: Path
    fingerprint: str
    options: tuple[str, ...] = ()

    @classmethod
    def make(cls, home: Path) -> Signer:
        """Make a key and export its public half."""
        return cls._make(home, "never")

    @classmethod
    def make_expired(cls, home: Path) -> Signer:
        """Make a key that was good for one day in 2020, on which it signs."""
        return cls._make(home, "1d", "--faked-system-time", "20200101T120000")

    @classmethod
    def _make(cls, home: Path, expires: str, *options: str) -> Signer:
        home.mkdir(mode=0o700)
        environment = {**os.environ, "GNUPGHOME": str(home)}
        gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        gpg += options
        name = "Anna Tester <anna@example.org>"
        subprocess.run(
            [*gpg, "--quick-generate-key", name, "ed25519", "sign", expires],
            env=environment,
            check=True,
        )
        listed = subprocess.run(
            [*gpg, "--with-colons", "--list-keys"], env=environment, check=True, capture_output=True
        )
        fingerprint = next(
            line.split(":")[9] for line in listed.stdout.decode().splitlines() if "fpr:" in line
        )
        keyring = home / "public.gpg"
        subprocess.run([*gpg, "--output", keyring, "--export"], env=environment, check=True)
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=environment, check=True)
        return cls(home, keyring, fingerprint, options)

    def revoke(self) -> None:
        """Revoke the key, as its keyring then says."""
        made = self.home / "openpgp-revocs.d" / f"{self.fingerprint}.rev"
        made.write_text(made.read_text().replace(":-----BEGIN", "-----BEGIN"))
        gpg = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet"]
        subprocess.run([*gpg, "--import", made], check=True)
        subprocess.run([*gpg, "--output", self.keyring, "--export"], check=True)

    def sign(self, dsc: Path) -> bytes:
        """Return the clear-signed text of `dsc`."""
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        done = subprocess.run(
            ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "",
             *self.options, "--clearsign", "--output", "-", dsc],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=environment, check=True)
        return done.stdout

    def armoured_keyring(self) -> Path:
        """Return the public key in the armoured form."""
        file = self.home / "public.asc"
        subprocess.run(
            ["gpg", "--batch", "--yes", "--enarmor", "--output", file, self.keyring],
            env={**os.environ, "GNUPGHOME": str(self.home)}, check=True, capture_output=True,
        )  # fmt: skip
        text = file.read_text().replace("ARMORED FILE", "PUBLIC KEY BLOCK")
        file.write_text(text)
        return file
