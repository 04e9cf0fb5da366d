"""A configuration as TOML again, which reads as the same, or as the plain values that JSON knows."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from addrsvc.keeper.config import RULE, SECTIONS, Config, Loaded
from addrsvc.keeper.kinds import Origin

__all__ = ["plain", "toml"]


def plain(config: Config) -> dict[str, object]:
    """All that a configuration says, in the words in which it would be written."""
    return {**SECTIONS.plain(config), "rule": [RULE.plain(rule) for rule in config.rules]}


def toml(loaded: Loaded) -> str:
    """A configuration as one file, with the origin of each value as a comment behind it."""
    return "".join(f"{line}\n" for line in _Writer(loaded.origins).lines(loaded.config))


class _Writer:
    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins

    def lines(self, config: Config) -> Iterator[str]:
        """One for each header and value."""
        for name, table in SECTIONS.plain(config).items():
            yield f"[{name}]"
            yield from self._table(name, table)
            yield ""
        for rule in config.rules:
            yield self._told("[[rule]]", f"rule.{rule.name}", "built in")
            yield from self._table(f"rule.{rule.name}", RULE.plain(rule))
            yield ""

    def _table(self, path: str, table: object) -> Iterator[str]:
        assert isinstance(table, dict)
        for name, value in table.items():
            yield from self._value(f"{path}.{name}", name, value)

    def _value(self, path: str, name: str, value: object) -> Iterator[str]:
        match value:
            case dict():
                yield from self._dotted(path, name, value)
            case list() if value:
                yield f"{name} = ["
                for number, element in enumerate(value):
                    yield self._told(f"    {_inline(element)},", f"{path}[{number}]")
                yield "]"
            case _:
                yield self._told(f"{name} = {_inline(value)}", path)

    def _dotted(self, path: str, name: str, table: Mapping[str, object]) -> Iterator[str]:
        """A table in a table, each of whose values may come from somewhere else."""
        if not table:
            yield f"{name} = {{}}"
        for key, value in table.items():
            yield from self._value(f"{path}.{key}", f"{name}.{key}", value)

    def _told(self, text: str, path: str, otherwise: str = "default") -> str:
        origin = self._origins.get(path)
        return f"{text}  # {_printable(f'{origin.file}:{origin.line}') if origin else otherwise}"


_ODD: Final = re.compile(r'[\x00-\x1f\x7f"\\]')


def _printable(text: str) -> str:
    return _ODD.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode(errors="backslashreplace").decode()


def _inline(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{_printable(value)}"'
        case dict():
            return f"{{ {', '.join(f'{key} = {_inline(it)}' for key, it in value.items())} }}" if value else "{}"
        case list():
            return f"[{', '.join(map(_inline, value))}]"
        case _:
            return repr(value)
