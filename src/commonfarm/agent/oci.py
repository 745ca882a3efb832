"""The OCI configuration of a sandbox, made from plain values.

Format: OCI Runtime Specification 1.0.2, config.md and config-linux.md.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Any

FIRST_ID = 0x70000000
"""Where the sandbox's ids begin on the host: above those systemd-nspawn and useradd give out."""
IDS = 65536

BUILDER_ID = 1000
"""The unprivileged user `builder` of a buildroot."""

# What a package's maintainer scripts may do, as root of the sandbox's user namespace only.
_INSTALL_CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_SETFCAP", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE",
]  # fmt: skip

# Ways to the kernel that no build needs and that have been holes, or that lead out of the
# network namespace or the clock. mount, unshare and their kin would need capabilities that only a
# new user namespace gives, and that is refused too.
_REFUSED = [
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "ioperm", "iopl",
    "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr",
    "move_mount", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "pivot_root",
    "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "setns", "settimeofday",
    "stime", "swapoff", "swapon", "syslog", "umount", "umount2", "unshare", "uselib",
    "userfaultfd", "vhangup",
]  # fmt: skip
# Said to be unknown, so that a C library falls back to the older call that can be filtered.
_UNKNOWN = ["clone3", "io_uring_enter", "io_uring_register", "io_uring_setup"]
# What a build writes is thrown away with the sandbox: waiting for the disk would only cost time.
_NOTHING_TO_DO = ["fdatasync", "fsync", "sync", "sync_file_range", "syncfs"]
_CLONE_NEW_ANY = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_AF_ALG, _AF_VSOCK = 38, 40

_SECCOMP_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "i686": ["SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "armv7l": ["SCMP_ARCH_ARM"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
    "mips64": ["SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_MIPSEL"],
}

_MASKED = [
    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
]  # fmt: skip
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


@dataclass(frozen=True)
class Step:
    """One command in a sandbox, as root of its namespace or as `builder`.

    `read_only` maps a path inside to the host's directory or file shown there.
    """

    name: str
    arguments: list[str]
    as_root: bool = False
    directory: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    read_only: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Enforced:
    """What of a job's limits the kernel is asked for, in bytes and counts; None where it cannot."""

    cgroup: str
    memory_bytes: int | None
    swap_bytes: int | None
    processes: int | None
    rlimit_memory_bytes: int | None = None
    rlimit_processes: int | None = None
    shared_memory_bytes: int = 64 * 2**20
    open_files: int = 1024


def seccomp(machine: str) -> dict[str, Any]:
    """Return the filter for `machine` (as uname says it)."""

    def errno(names: list[str], number: int, **more: Any) -> dict[str, Any]:
        return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number, **more}

    flags = 1 if machine == "s390x" else 0  # clone(2): there the flags come second
    rules = [
        errno(_REFUSED, _EPERM),
        errno(_UNKNOWN, _ENOSYS),
        errno(_NOTHING_TO_DO, 0),
    ]
    rules += [
        errno(
            ["clone"],
            _EPERM,
            args=[{"index": flags, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}],
        )
        for bit in (1 << n for n in range(32))
        if bit & _CLONE_NEW_ANY
    ]
    rules += [
        errno(["socket"], _EAFNOSUPPORT, args=[{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}])
        for family in (_AF_ALG, _AF_VSOCK)
    ]
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    if machine in _SECCOMP_ARCHITECTURES:
        profile["architectures"] = _SECCOMP_ARCHITECTURES[machine]
    return profile


def configuration(
    root: str, step: Step, enforced: Enforced, init: list[str], machine: str | None = None
) -> dict[str, Any]:
    """Return config.json for `step` over the mounted `root`; `init` runs as process 1."""
    capabilities = _INSTALL_CAPABILITIES if step.as_root else []
    user = 0 if step.as_root else BUILDER_ID
    ids = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
    rlimits = [
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_NOFILE", min(1024, enforced.open_files), enforced.open_files),
    ]
    arguments = step.arguments
    if enforced.rlimit_memory_bytes is not None:
        # Not among the bundle's: runc itself would be under it, and fails to load the filter.
        arguments = ["prlimit", f"--as={enforced.rlimit_memory_bytes}", "--", *arguments]
    if enforced.rlimit_processes is not None:
        rlimits.append(("RLIMIT_NPROC", enforced.rlimit_processes, enforced.rlimit_processes))
    resources: dict[str, Any] = {}
    if enforced.memory_bytes is not None:
        resources["memory"] = {"limit": enforced.memory_bytes}
        if enforced.swap_bytes is not None:
            resources["memory"]["swap"] = enforced.swap_bytes
    if enforced.processes is not None:
        resources["pids"] = {"limit": enforced.processes}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": root},
        "hostname": "builder",
        "process": {
            "terminal": False,
            "user": {"uid": user, "gid": user},
            "args": init + arguments,
            "cwd": step.directory,
            "env": [f"{name}={value}" for name, value in sorted(step.environment.items())],
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "permitted", "inheritable"), capabilities
            ),
            "rlimits": [{"type": t, "soft": s, "hard": h} for t, s, h in rlimits],
            "noNewPrivileges": True,
            "oomScoreAdj": 500,
        },
        "mounts": [
            _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=1m"),
            _mount(
                "/dev/pts", "devpts", "devpts",
                "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
            ),
            _mount(
                "/dev/shm", "tmpfs", "shm",  # noqa: S108 - a mount point inside
                "nosuid", "noexec", "nodev", "mode=1777", f"size={enforced.shared_memory_bytes}",
            ),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            *(
                _mount(inside, "bind", outside, "bind", "ro", "nosuid", "nodev")
                for inside, outside in sorted(step.read_only.items())
            ),
        ],
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [
                {"type": kind}
                for kind in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup")
            ],
            # Without one, runc bears with cgroups that cannot be written; with one it does not.
            **({"cgroupsPath": enforced.cgroup} if enforced.cgroup else {}),
            "resources": resources,
            "seccomp": seccomp(machine or platform.machine()),
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
        },
    }  # fmt: skip


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }
