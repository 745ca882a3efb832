"""By which keys we know the machines that are told to pull by SSH."""

from __future__ import annotations

from django.db import models, transaction

from commonfarm.journal.interface import record
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.mirrors import alarms
from commonfarm.mirrors.models.registry import Mirror


class HostKey(models.Model):
    """The SSH host key of a mirror, for what it has in `push_to` (`address`).

    `offered` is what the machine showed last, in OpenSSH's form; nothing is sent there before a
    coordinator said that it is the right one: `trusted`.
    """

    mirror = models.OneToOneField(Mirror, on_delete=models.CASCADE, related_name="host_key")
    address = models.CharField(max_length=500)
    offered = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=100, blank=True)
    trusted = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"host key of {self.mirror}"

    @classmethod
    def of(cls, mirror: Mirror) -> HostKey:
        """Return that of the mirror's present address, made if need be; not saved."""
        found = cls.objects.filter(mirror=mirror).first() or cls(mirror=mirror)
        if found.address != mirror.push_to:
            found.address, found.offered, found.fingerprint, found.trusted = (
                mirror.push_to, "", "", "")  # fmt: skip
        return found

    def was_offered(self, key: str, fingerprint: str) -> None:
        """Note what the machine shows, for a coordinator to compare."""
        self.offered, self.fingerprint = key, fingerprint
        self.save()

    def trust(self, fingerprint: str, *, who: str) -> None:
        """Take the key that was offered for the right one; RefusedError when it is another."""
        if not self.offered or fingerprint != self.fingerprint:
            offered = self.fingerprint or "none yet"
            raise RefusedError(
                Reason(
                    "other-host-key",
                    f"the machine has not shown the key {fingerprint[:100]}, but {offered}",
                    "compare it with what its administrator tells you",
                )
            )
        with transaction.atomic():
            self.trusted = self.offered
            self.save()
            event = alarms.MirrorHostKeyTrusted(self.mirror.subject, fingerprint=fingerprint)
            record(event, who=who)
