"""`addrsvc config`: what is wrong with a configuration, what it comes down to, and what may stand in one."""

from pathlib import Path

from addrsvc.daemon.printer import json_text, say
from addrsvc.errors import ConfigError
from addrsvc.keeper.config import Loaded, load, places

__all__ = ["check", "show", "show_example", "show_schema"]


def check(file: Path | None, *, as_json: bool) -> int:
    """Read a configuration, and tell all that is wrong with it; the exit code."""
    try:
        loaded = load(places(file))
    except ConfigError as error:
        if not as_json:
            raise
        say(json_text({"problems": [problem._asdict() for problem in error.problems]}))
        return 1
    say(json_text({"problems": [], "files": loaded.files}) if as_json else _good(loaded))
    return 0


def _good(loaded: Loaded) -> str:
    if not loaded.files:
        return "there is no file: the built-in rule holds"
    rules = ", ".join(rule.name for rule in loaded.config.rules if rule.enabled)
    return "\n".join([*loaded.files, f"nothing is wrong; rules: {rules or 'none'}"])


def show(file: Path | None, *, as_json: bool) -> int:
    """Print what all files come down to, with the origin of each value."""
    from addrsvc.keeper.toml_text import plain, toml

    loaded = load(places(file))
    if not as_json:
        say(toml(loaded).rstrip("\n"))
        return 0
    origins = {key: origin._asdict() for key, origin in loaded.origins.items()}
    say(json_text({"config": plain(loaded.config), "origins": origins, "files": loaded.files}))
    return 0


def show_schema() -> int:
    """Print the JSON Schema of a configuration."""
    import json

    from addrsvc.keeper.schema import schema

    say(json.dumps(schema(), indent=2))
    return 0


def show_example() -> int:
    """Print a configuration to begin with: all that may stand in one, commented out, with what holds anyway."""
    from addrsvc.daemon.units import shipped

    say((shipped() / "addrsvc.toml").read_text(encoding="utf-8").rstrip("\n"))
    return 0
