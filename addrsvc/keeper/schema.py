"""The JSON Schema of a configuration, made of the same keys as its reader goes by.

What the schema refuses the reader refuses, too; the reader knows more: which addresses lo may not have, that two things
are the same, what fits together.
"""

from typing import Final

from addrsvc.keeper.config import RULE, SECTIONS

__all__ = ["schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, object]:
    """The schema of one file, main or drop-in, for editors and for whoever makes configurations by program."""
    found = SECTIONS.schema()
    properties = found["properties"]
    assert isinstance(properties, dict)
    rules = {"type": "array", "items": {"$ref": "#/$defs/rule"}, "description": "what is wanted, and where"}
    return {
        "$schema": _DIALECT,
        "title": "The configuration of addrsvc",
        **found,
        "properties": {**properties, "rule": rules},
        "$defs": {"rule": RULE.schema()},
    }
