"""The fleet's public names."""

from commonfarm.fleet import ports
from commonfarm.fleet.enrolment import bearer, enrol, make_enrolment_token, past_bearer
from commonfarm.fleet.facts import check_facts, check_protocol
from commonfarm.fleet.models import (
    SILENT_AFTER,
    Builder,
    Cleanliness,
    EnrolmentToken,
    generation_over,
)

__all__ = [
    "SILENT_AFTER",
    "Builder",
    "Cleanliness",
    "EnrolmentToken",
    "bearer",
    "check_facts",
    "check_protocol",
    "enrol",
    "generation_over",
    "make_enrolment_token",
    "past_bearer",
    "ports",
]
