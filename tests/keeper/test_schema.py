"""addrsvc.keeper.schema beside the reader, judged by jsonschema."""

import tomllib
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc.errors import ConfigError
from addrsvc.keeper.config import Config, Loaded, parse
from addrsvc.keeper.schema import schema
from addrsvc.keeper.toml_text import plain, toml
from tests.fuzz.configurations import mutated
from tests.keeper.configs import CONFIGS, EXAMPLE, FULL, instance, uncommented

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("text", ["", FULL, uncommented(EXAMPLE), instance(EXAMPLE)])
def test_what_is_right_passes(text: str) -> None:
    VALIDATOR.validate(tomllib.loads(text))


@settings(max_examples=100, deadline=None)
@given(CONFIGS)
def test_whatever_is_right_passes(config: Config) -> None:
    VALIDATOR.validate(plain(config))


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "daemon.realtime = 100",
        "daemon.log_level = 'warn'",
        "watch.receive_buffer = '8m'",
        "metrics.listen = '0.0.0.0:1'",
        "[[rule]]\nnamespaces = ['host']",
        "[[rule]]\nname = 'a.b'",
        "[[rule]]\nname = 'a'\naddresses = [{ metric = 1 }]",
        "[[rule]]\nname = 'a'\naddresses = ['fd00::1%lo']",
        "[[rule]]\nname = 'a'\nfights = { reversals = 0 }",
    ],
)
def test_what_is_wrong_in_form_does_not_pass(text: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads(text))
    with pytest.raises(ConfigError):
        parse(text)


@settings(max_examples=200, deadline=None)
@given(CONFIGS.map(lambda config: toml(Loaded(config, {}, ()))), st.randoms(use_true_random=False))
def test_what_the_schema_refuses_the_reader_refuses(text: str, rng: Random) -> None:
    changed = mutated(text.encode(), rng).decode(errors="replace")
    try:
        tree = tomllib.loads(changed)
    except (ValueError, RecursionError):
        return
    if not VALIDATOR.is_valid(tree):
        with pytest.raises(ConfigError):
            parse(changed)


def undescribed(path: str, node: dict[str, Any]) -> list[str]:
    """The keys below a part of the schema that nothing is said about."""
    keys: dict[str, Any] = node.get("properties", {})
    found = [f"{path}.{name}" for name, it in keys.items() if not it.get("description")]
    parts = [node["items"]] if "items" in node else []
    below = {**keys, **node.get("$defs", {}), **dict(enumerate(node.get("anyOf", parts)))}
    return found + [it for name, child in below.items() for it in undescribed(f"{path}.{name}", child)]


def test_every_key_is_described() -> None:
    assert undescribed("", schema()) == []
    assert undescribed("", {"anyOf": [{"properties": {"a": {}}}]}) == [".0.a"]
