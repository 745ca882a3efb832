"""`make fresh`: the demo and every test on machines where nothing was set up before.

For each release a guest is made by mmdebstrap with only git, make and python3 (with venv), booted
by systemd-nspawn on the host's network, given a clone of this checkout's HEAD, and told to run
`make demo EXIT=1` and `make test`. What the guest needs to reach the outside is copied from the
host: its apt mirror and proxies, pip's settings and the files they name, trusted certificates.

Everything lies below one folder and is removed at the end; the logs are kept. A guest ends with
this script, even if that is killed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from commonfarm.estate import host_apt

CHECKOUT = Path(__file__).resolve().parents[1]
RELEASES = ("bookworm", "trixie")
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "ca-certificates", "git", "make"),
    *("python3", "python3-venv"),
)
BOOT = ("--register=no", "--keep-unit", "--capability=all", "--resolv-conf=copy-host")
STATE = Path("/var/tmp/commonfarm-fresh")  # noqa: S108 - made by root with mode 0700, checked
PASSED_ON = re.compile(r"(PIP_\w+|\w*_(CERT|CERTS|CA_BUNDLE)\w*|SSL_CERT_\w+|\w+_proxy)", re.I)
INSIDE = "COMMONFARM_FRESH_INSIDE"
STEPS = ("make demo EXIT=1", "make test")

UNIT = """\
[Unit]
Description=Commonfarm's demo and tests
After=multi-user.target

[Service]
Type=oneshot
WorkingDirectory=/root/commonfarm
EnvironmentFile=/root/environment
ExecStart=/root/fresh.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=append:/root/fresh.log
StandardError=inherit
"""

SCRIPT = """\
#!/bin/bash
# Runs each step, and leaves `step TAB seconds TAB exit code` a line.
export HOME=/root LC_ALL=C.UTF-8
# A machine of its own may write to its cgroups; nspawn gives them read-only.
findmnt --noheadings --raw --types cgroup,cgroup2 --output TARGET | while IFS= read -r mounted; do
    mount -o remount,bind,rw "$mounted"
done
while IFS= read -r step; do
    echo "== $step"
    began=$(date +%s)
    bash -c "$step" </dev/null
    code=$?
    printf '%s\\t%s\\t%s\\n' "$step" "$(($(date +%s) - began))" "$code" >>/root/results
    [ "$code" = 0 ] || exit "$code"
done </root/steps
"""


def run(*command: str | Path, **more: object) -> str:
    """Run a command to its end, or end with its own words."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return str(done.stdout)


def package_lines(release: str) -> list[str]:
    """Return where the guest's packages come from: the host's mirror, its own suites."""
    here = host_apt.host_suite()
    return [
        f"deb {source.uri} {source.suite.replace(here, release, 1)} {' '.join(source.components)}"
        for source in host_apt.host_package_sources()
    ]


def proxies() -> list[str]:
    """Return the host's proxies of apt, as lines of a configuration."""
    wanted = re.compile(r"Acquire::https?::Proxy(::[\w.-]+)? \"[^\"]", re.I)
    return [line for line in run("apt-config", "dump").splitlines() if wanted.match(line)]


def pip_files() -> list[Path]:
    """Return the files of pip's settings that exist here."""
    named = [os.environ["PIP_CONFIG_FILE"]] if os.environ.get("PIP_CONFIG_FILE") else []
    home = Path(os.environ.get("HOME", "/root"))
    places = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf")
    mine = (home / ".config/pip/pip.conf", home / ".pip/pip.conf")
    return [file for file in (*map(Path, (*named, *places)), *mine) if file.is_file()]


def local_folders() -> list[Path]:
    """Return the folders that pip's settings name; the guest sees them read-only."""
    texts = [file.read_text(encoding="utf-8") for file in pip_files()]
    texts += [text for key, text in os.environ.items() if key.startswith("PIP_")]
    words = {word for text in texts for word in re.findall(r"(?:file://)?(/[^\s,'\"]+)", text)}
    found = {Path(word) for word in words if Path(word).is_dir()}
    # A simple index links to files beside it, so what is bound is all of its folder.
    found = {folder.parent if folder.name == "simple" else folder for folder in found}
    system = {Path(name) for name in ("/", "/usr", "/etc", "/root", "/home", "/var", "/tmp")}  # noqa: S108
    return sorted(found - system)


def certificates() -> Iterator[str]:
    """Yield the certificates this host trusts, one PEM each."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    text = bundle.read_text(encoding="ascii", errors="replace") if bundle.exists() else ""
    yield from re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL
    )


def make_guest(root: Path, release: str) -> None:
    """Make the root of a guest that has only what the README asks for."""
    options = [f"--aptopt={line.rstrip(';')}" for line in proxies()]
    include = f"--include={','.join(PACKAGES)}"
    words = [
        "setpriv",
        "--pdeathsig=TERM",
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        include,
        *options,
        release,
        str(root),
    ]
    run(*words, *package_lines(release))
    if proxies():
        (root / "etc/apt/apt.conf.d/80proxy").write_text("\n".join(proxies()) + "\n")
    trusted = root / "usr/local/share/ca-certificates/host"
    trusted.mkdir(parents=True)
    for number, certificate in enumerate(certificates()):
        (trusted / f"{number:04d}.crt").write_text(certificate)
    run("chroot", root, "update-ca-certificates")
    home = Path(os.environ.get("HOME", "/root"))
    for file in pip_files():
        inside = Path("root") / file.relative_to(home) if file.is_relative_to(home) else file
        copy = root / str(inside).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    (root / "etc/hostname").write_text(f"fresh-{release}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost fresh-{release}\n::1 localhost\n")


def give_work(root: Path, steps: list[str]) -> None:
    """Put a clone of HEAD into the guest, and the unit that runs `steps` once it is up."""
    inside = root / "root"
    run(
        "git",
        "-c",
        f"safe.directory={CHECKOUT}",
        "-C",
        CHECKOUT,
        "bundle",
        "create",
        inside / "head.bundle",
        "HEAD",
    )
    for words in (
        ("init", "--quiet", "/root/commonfarm"),
        ("-C", "/root/commonfarm", "fetch", "--quiet", "/root/head.bundle", "HEAD"),
        ("-C", "/root/commonfarm", "checkout", "--quiet", "-b", "main", "FETCH_HEAD"),
    ):
        run("chroot", root, "git", *words)
    lines = [f'{key}="{text}"' for key, text in os.environ.items() if PASSED_ON.fullmatch(key)]
    environment = inside / "environment"
    environment.touch(0o600)
    environment.write_text("\n".join(lines) + "\n")
    (inside / "steps").write_text("".join(f"{step}\n" for step in steps))
    (inside / "fresh.sh").write_text(SCRIPT)
    (inside / "fresh.sh").chmod(0o755)
    (root / "etc/systemd/system/fresh.service").write_text(UNIT)
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    # Not part of the boot itself: systemd would wait for it before it calls itself up.
    (root / "etc/systemd/system/fresh.timer").write_text(
        "[Timer]\nOnBootSec=3\nAccuracySec=1\n[Install]\nWantedBy=timers.target\n"
    )
    run("chroot", root, "systemctl", "--quiet", "enable", "fresh.timer")


def boot(root: Path, log: Path) -> None:
    """Boot the guest, show what it says, and return when it is off."""
    binds = [f"--bind-ro={folder}" for folder in local_folders()]
    guest = ["systemd-nspawn", "--quiet", "--boot", f"--directory={root}", *BOOT, *binds]
    said = root / "root/fresh.log"
    said.touch()
    with (
        log.open("ab") as out,
        log.with_suffix(".boot.log").open("wb") as booting,
        said.open("rb") as new,
    ):
        machine = subprocess.Popen(
            guest,
            stdin=subprocess.DEVNULL,
            stdout=booting,
            stderr=subprocess.STDOUT,
        )
        try:
            ended = False
            while not ended:
                ended = machine.poll() is not None
                while piece := new.read(65536):
                    out.write(piece)
                    out.flush()
                    sys.stdout.buffer.write(piece)
                    sys.stdout.flush()
                time.sleep(0.3)
        finally:
            machine.terminate()
            try:
                machine.wait(60)
            except subprocess.TimeoutExpired:
                machine.kill()
                machine.wait()


def prove(state: Path, release: str, steps: list[str], *, keep: bool) -> list[tuple[str, ...]]:
    """Run `steps` in a clean guest; return (release, step, seconds, exit code) of each."""
    root, log = state / release, state / "log" / f"{release}.log"
    log.unlink(missing_ok=True)
    try:
        remove(root)
        print(f"== {release}: making the guest", flush=True)
        make_guest(root, release)
        give_work(root, steps)
        boot(root, log)
        results = root / "root/results"
        lines = results.read_text().splitlines() if results.exists() else []
    finally:
        if not keep:
            remove(root)
    done = [(release, *line.split("\t")) for line in lines]
    return done + [(release, step, "0", "not run") for step in steps[len(done) :]]


def remove(root: Path) -> None:
    """Remove a guest's root; nothing outside of it, whatever is mounted below."""
    run("rm", "--recursive", "--force", "--one-file-system", root)
    root.with_name(f".#{root.name}.lck").unlink(missing_ok=True)


def main() -> int:
    """Prove each release, one after the other; 0 when every step of every one went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", default=RELEASES)
    parser.add_argument("--state", type=Path, default=STATE, help="default: %(default)s")
    parser.add_argument("--step", action="append", help=f"default: {', then '.join(STEPS)}")
    parser.add_argument("--keep", action="store_true", help="leave the guests' roots")
    options = parser.parse_args()
    if os.getuid():
        sys.exit("guests are booted as root: run `sudo make fresh`")
    for program in ("mmdebstrap", "systemd-nspawn", "git"):
        if shutil.which(program) is None:
            package = "systemd-container" if program == "systemd-nspawn" else program
            sys.exit(f"{program} is missing: apt-get install {package}")
    if INSIDE not in os.environ:
        # All it starts and mounts is in namespaces of its own, and ends with it even by a kill.
        os.environ[INSIDE] = "yes"
        own = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        os.execvp("unshare", [*own, sys.executable, *sys.argv])  # noqa: S606 - not a shell
    state: Path = options.state
    (state / "log").mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    if state.stat().st_uid != 0:
        sys.exit(f"{state} belongs to somebody else; remove it, or name another by --state")
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another `make fresh` works in {state}")
        results = []
        for release in options.releases:
            results += prove(state, release, options.step or list(STEPS), keep=options.keep)
    print(f"\nlogs: {state / 'log'}")
    for release, step, seconds, code in results:
        verdict = "passed" if code == "0" else f"FAILED ({code})"
        print(f"{release:<10} {step:<28} {int(seconds):>5} s  {verdict}")
    return 0 if all(code == "0" for *_, code in results) else 1


if __name__ == "__main__":
    sys.exit(main())
