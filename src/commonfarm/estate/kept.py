"""What a load keeps, read again: its facts, and the facts as others see them.

Facts are kept as JSON beside the load in force, since pages need them and the YAML of a large
estate takes seconds to read. They can be made again from the load's files at any time: those of
older loads are, and so are facts that an older Commonfarm has written.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from pydantic import TypeAdapter, ValidationError

from commonfarm.estate import logos
from commonfarm.estate.disclosure import veiled
from commonfarm.estate.facts import Facts, Policy
from commonfarm.estate.folder import resolved
from commonfarm.estate.models import Load
from commonfarm.estate.reader import Text
from commonfarm.store.interface import read

NOTHING = Facts("", {}, {}, {}, {}, {}, {}, (), (), (), (), (), {}, Policy(), ())
"""The facts before anything was loaded."""

_ADAPTER = TypeAdapter(Facts)
_log = logging.getLogger(__name__)


def to_json(facts: Facts) -> str:
    """Return facts as a load keeps them."""
    return _ADAPTER.dump_json(facts).decode()


def facts_of(load: Load) -> Facts:
    """Return the facts of a load. They name who gives anonymously: see `seen`."""
    return _facts(load.pk)


def seen(load: Load) -> Facts:
    """Return the facts of a load as others see them."""
    return _seen(load.pk)


def pledges_in_force() -> frozenset[str]:
    """Return the names of the pledges of the estate that counts now."""
    load = Load.in_force()
    return frozenset(seen(load).pledges) if load else frozenset()


def texts_of(load: Load) -> list[Text]:
    """Return the YAML files of a load."""
    kept = load.files.order_by("name").values_list("name", "blob_id")
    return [Text(name, read(blob)) for name, blob in kept if not _is_logo(name)]


@lru_cache(maxsize=4)
def _facts(pk: int) -> Facts:
    load = Load.objects.get(pk=pk)
    if load.facts:
        try:
            return _ADAPTER.validate_json(load.facts)
        except ValidationError:
            _log.info("the facts of load %s are of another version, and made again", pk)
    _, facts = resolved(texts_of(load))
    return facts


@lru_cache(maxsize=4)
def _seen(pk: int) -> Facts:
    return veiled(_facts(pk))


def _is_logo(name: str) -> bool:
    return any(name.endswith(suffix) for suffix in logos.KINDS)
