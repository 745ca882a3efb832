"""The schema of a file as JSON Schema, by which editors complete keys and underline faults."""

from __future__ import annotations

from types import GenericAlias
from typing import Any

from pydantic import BaseModel, create_model

from commonfarm.estate.schema import POLICY, SECTIONS, Policy, Thing

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one file of an estate.

    It knows what may be written, not what must agree between things: `estate check` does.
    """
    fields: dict[str, Any] = {
        section: (GenericAlias(list, kind), None) for section, kind in SECTIONS.items()
    }
    fields[POLICY] = (Policy, None)
    file: type[BaseModel] = create_model("Estate", __config__=Thing.model_config, **fields)
    made = file.model_json_schema()
    for section in made["properties"].values():
        del section["default"]  # without a section nothing of it is declared
    return {"$schema": DIALECT, **made, "description": "A file of a Commonfarm estate."}
