"""What must be true before the processes start: tables up to date, the database and the store this
installation's own, an administrator, and a token for the command line. Idempotent.
"""

from __future__ import annotations

import json
import uuid

from commonfarm.http.session import token_file
from commonfarm.installation.users import write_private
from commonfarm.lib.config import Config
from commonfarm.lib.errors import Reason, RefusedError

ADMIN = "admin"
WHO = "process:up"


def run(config: Config) -> None:
    """Prepare and print, as JSON, the path of a sign-in link that is good once."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    with connection.cursor() as cursor:
        # Two machines of one installation may start at once; the lock ends with this process.
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('commonfarm migrate', 0))")
        cursor.execute("SELECT to_regclass('installation_identity') IS NOT NULL")
        (known,) = cursor.fetchone() or (False,)
    if known:
        claim(config)
    call_command("migrate", verbosity=0, interactive=False)
    claim(config)
    print(json.dumps({"sign_in": _sign_in(config)}))


def claim(config: Config) -> None:
    """Make database and store this installation's own, or raise RefusedError if they are not."""
    from django.db import transaction

    from commonfarm.installation.models import Identity

    marker = config.store / "installation"
    in_store = marker.read_text(encoding="utf-8").split() if marker.exists() else None
    with transaction.atomic():
        row = Identity.objects.select_for_update().first()
        if row and row.name != config.name:
            raise RefusedError(
                Reason(
                    "database-of-another",
                    f"the database {config.database.name} at {config.database.host} belongs to the"
                    f" installation {row.name}",
                    f"give {config.name} a database of its own in {config.file}",
                )
            )
        if in_store and (row is None or uuid.UUID(in_store[0]) != row.id):
            raise RefusedError(
                Reason(
                    "store-of-another",
                    f"the store {config.store} belongs to the installation {in_store[1]}"
                    f" ({in_store[0]}), not to this database",
                    f"give {config.name} a store of its own in {config.file}, or restore the"
                    " database that goes with it",
                )
            )
        if row is None:
            row = Identity.objects.create(name=config.name)
    if not in_store:
        write_private(marker, f"{row.id} {row.name}\n")


def _sign_in(config: Config) -> str:
    from django.utils import timezone

    from commonfarm.accounts.interface import ApiToken, Role, SignInLink, User

    # The first admin may have been closed since; the accounts keep at least one.
    admins = User.objects.filter(role=Role.ADMIN, is_active=True).order_by("pk")
    admin = admins.first() or User.add(ADMIN, Role.ADMIN, who=WHO)
    file = token_file(config)
    kept = file.read_text(encoding="ascii").strip() if file.exists() else ""
    bearer = ApiToken.bearer(kept)
    if bearer is None or not bearer.may(Role.ADMIN):
        write_private(file, ApiToken.make(admin, "command line", who=WHO).reveal() + "\n")
    return f"/sign-in/?token={SignInLink.make(admin, timezone.now(), who=WHO).reveal()}"
