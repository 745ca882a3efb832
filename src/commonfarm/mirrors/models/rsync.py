"""By which password a mirror reads what is under embargo."""

from __future__ import annotations

from datetime import datetime

from django.db import models, transaction

from commonfarm.journal.interface import record
from commonfarm.lib.ids import new_token
from commonfarm.lib.secret import Secret
from commonfarm.mirrors import events
from commonfarm.mirrors.models.registry import Mirror


class RsyncPassword(models.Model):
    """The password of a mirror's rsync user, whose name is the mirror's.

    It is kept as it is, and not as a hash: rsync's daemon needs it to check a client's answer.
    """

    mirror = models.OneToOneField(Mirror, on_delete=models.CASCADE, related_name="rsync_password")
    password = models.CharField(max_length=100)
    made_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"rsync password of {self.mirror}"

    @classmethod
    def renew(cls, mirror: Mirror, now: datetime, *, who: str) -> Secret:
        """Give a mirror a new password; the one before is void once the daemon was told."""
        password = new_token("cf_rsync")
        with transaction.atomic():
            cls.objects.update_or_create(
                mirror=mirror, defaults={"password": password, "made_at": now}
            )
            record(events.RsyncPasswordMade(mirror.subject), who=who)
        return Secret(password)
