"""How a host becomes a builder: a token good once, and the credential it is exchanged for."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction

from commonfarm.agent.protocol import Enrolled, EnrolRequest
from commonfarm.estate.interface import Pool
from commonfarm.fleet import ports
from commonfarm.fleet.events import BuilderEnrolled, EnrolmentTokenMade
from commonfarm.fleet.facts import check_request, columns
from commonfarm.fleet.models import (
    Builder,
    Cleanliness,
    EnrolmentToken,
    Generation,
    generation_over,
)
from commonfarm.journal.interface import record
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.lib.ids import hash_token, new_token
from commonfarm.lib.secret import Secret


def make_enrolment_token(pool: Pool, *, who: str, now: datetime) -> Secret:
    """Create a token by which one builder may enrol into `pool` until `now` + LIFETIME."""
    if pool.retired_at is not None:
        raise RefusedError(
            Reason("pool-retired", f"the pool {pool} left the estate", "load an estate that has it")
        )
    token = new_token("cf_enrol")
    with transaction.atomic():
        EnrolmentToken.objects.create(
            digest=hash_token(token),
            pool=pool,
            made_by=who,
            expires_at=now + EnrolmentToken.LIFETIME,
        )
        record(EnrolmentTokenMade(f"pool:{pool.name}"), who=who)
    return Secret(token)


def enrol(request: EnrolRequest, now: datetime) -> Enrolled:
    """Exchange a token for a credential, and begin a new generation of the builder.

    All or nothing: a refused request leaves its token unused. A builder that is known already must
    come with a token for its own pool; its cordon stays, and the leases of its old generation end.
    Raises BadInputError or RefusedError.
    """
    check_request(request)
    credential = new_token("cf_builder")
    with transaction.atomic():
        token = _use_up(request.token, now)
        pool = token.pool
        if request.facts.architecture != pool.architecture:
            raise RefusedError(
                Reason(
                    "other-architecture",
                    f"the pool {pool} is for {pool.architecture},"
                    f" and {request.name} says that it is {request.facts.architecture}",
                    f"make a token for a pool of {request.facts.architecture}",
                )
            )
        builder, known = _locked(request.name, pool, hash_token(credential), now)
        ended = builder.generation
        builder.generation += 1
        builder.credential_digest = hash_token(credential)
        builder.cleanliness = Cleanliness.CLEAN
        builder.running = 0
        builder.architecture = pool.architecture
        builder.enrolled_at = builder.last_seen_at = now
        for column, value in columns(request.facts).items():
            setattr(builder, column, value)
        builder.save()
        if known:
            builder.generations.filter(ended_at=None).update(ended_at=now)
            ports.generation_ended.get()(builder, ended, now)
        Generation.objects.create(
            builder=builder,
            number=builder.generation,
            credential_digest=builder.credential_digest,
            token_made_by=token.made_by,
            began_at=now,
        )
        record(
            BuilderEnrolled(builder.label, pool=pool.name, token_made_by=token.made_by),
            who=builder.label,
        )
    return Enrolled(
        builder=builder.name,
        generation=builder.generation,
        credential=credential,
        scheduler_urls=[settings.COMMONFARM.public_url("scheduler")],
    )


def bearer(credential: str) -> Builder | None:
    """Return the builder whose present generation holds `credential`, or None.

    It is found by its digest, so how long the search takes tells nothing of other credentials.
    """
    return (
        Builder.objects.select_related("pool")
        .filter(credential_digest=hash_token(credential))
        .first()
    )


def past_bearer(credential: str) -> Reason | None:
    """Say which past generation `credential` belonged to; None if it never was one."""
    found = (
        Generation.objects.select_related("builder")
        .filter(credential_digest=hash_token(credential), ended_at__isnull=False)
        .first()
    )
    if found is None:
        return None
    return generation_over(found.builder.name, found.number, found.builder.generation)


def _use_up(token: str, now: datetime) -> EnrolmentToken:
    """Mark the token used and return it; one conditional update, so that one of many wins."""
    digest = hash_token(token)
    used = EnrolmentToken.objects.filter(digest=digest, used_at=None, expires_at__gt=now)
    if used.update(used_at=now):
        return EnrolmentToken.objects.select_related("pool").get(digest=digest)
    found = EnrolmentToken.objects.filter(digest=digest).first()
    if found is None:
        code, text = "token-unknown", "this enrolment token is not one of this hub's"
    elif found.used_at is not None:
        code, text = "token-used", f"this enrolment token was used at {found.used_at:%H:%M:%S} UTC"
    else:
        code, text = "token-expired", f"this enrolment token ended {found.expires_at:%H:%M:%S} UTC"
    raise RefusedError(Reason(code, text, "make a new one: commonfarm fleet token POOL"))


def _locked(name: str, pool: Pool, digest: str, now: datetime) -> tuple[Builder, bool]:
    """Return the builder's row, locked, and whether it was known before."""
    builder, made = Builder.objects.select_for_update().get_or_create(
        name=name,
        defaults={
            "pool": pool,
            "credential_digest": digest,
            "architecture": pool.architecture,
            "enrolled_at": now,
        },
    )
    if builder.pool_id != pool.pk:
        raise RefusedError(
            Reason(
                "other-pool",
                f"the builder {name} is in the pool {builder.pool}, and the token is for {pool}",
                f"make a token for {builder.pool}, or give the builder another name",
            )
        )
    return builder, not made
