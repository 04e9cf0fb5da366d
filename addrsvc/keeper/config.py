"""The configuration of the service: read from TOML and its drop-ins, merged, checked, and asked what is wanted where.

All files are read before anything is said about them, and one that is wrong makes all of them useless: what is in force
stays in force.  What may stand in them is said in `settings`.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Final

from addrsvc.errors import ConfigError, Problem
from addrsvc.keeper.kinds import Origin, Spot, Table, near_or_all, section, shown
from addrsvc.keeper.places import HOST
from addrsvc.keeper.rules import is_about, wanted
from addrsvc.keeper.settings import Control, Daemon, Metrics, Rule, Watch
from addrsvc.keeper.texts import is_rule_name
from addrsvc.keeper.toml_lines import lines
from addrsvc.keeper.wanted import Wanted

__all__ = ["BUILT_IN", "Config", "Loaded", "RULE", "SECTIONS", "load", "parse", "places"]

BUILT_IN: Final = Rule(name="host", namespaces=("host",))
"""The rule that holds where none is written: lo of the host is up, and ::1 is there."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    daemon: Daemon = section(Daemon, "how the process runs, and what it logs")
    control: Control = section(Control, "who may do what over the control socket, beside root")
    watch: Watch = section(Watch, "how kernels are listened to")
    metrics: Metrics = section(Metrics, "what is measured, and where it is told")
    rules: tuple[Rule, ...] = (BUILT_IN,)
    _combined: dict[tuple[tuple[int, ...], ...], Wanted] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def selectors(self) -> tuple[str, ...]:
        """Which namespaces the rules are about, each selector once."""
        return tuple(dict.fromkeys(it for rule in self.rules if rule.enabled for it in rule.namespaces))

    def wanted(self, *names: str) -> Wanted | None:
        """What is wanted of the namespace that has these names; None if no rule is about any of them.

        Where the same rules are, it is one object.
        """
        is_host = HOST in names
        about = (self._about(name, is_host=is_host) for name in names)
        groups = tuple(sorted({group for group in about if group}))
        if groups and groups not in self._combined:
            self._combined[groups] = wanted(self.rules, groups)
        return self._combined.get(groups)

    def _about(self, name: str, *, is_host: bool) -> tuple[int, ...]:
        """Which rules are about a name, by number."""
        return tuple(number for number, rule in enumerate(self.rules) if is_about(rule, name, is_host=is_host))


# --- files ----------------------------------------------------------------------------------------------------------

_PLACES: Final = ("usr/lib/addrsvc", "run/addrsvc", "etc/addrsvc")
"""Where drop-ins are; what a later one has of the same name counts instead, and otherwise after the rest."""
_NAME: Final = "addrsvc.toml"
_LARGEST: Final = 16 << 20
_OPEN_ALREADY: Final = (Path("/dev"), Path("/dev/fd"))
"""Where pipes are that somebody has begun to write to."""


def places(file: Path | None = None, *, root: Path = Path("/")) -> list[Path]:
    """Which files make up the configuration, in the order in which they are read; a later one counts.

    Args:
        file: only this one, and what is in the directory FILE.d.
        root: where the standard places are below.

    Raises:
        ConfigError: a directory cannot be listed.
    """
    if file is not None:
        return [file, *_drop_ins(Path(f"{file}.d"))]
    found = [root / place / _NAME for place in _PLACES]
    drop_ins = [_drop_ins(Path(f"{path}.d")) for path in found]
    last = len(_PLACES) - 1
    masking = {path.name: number for number, paths in enumerate(drop_ins) for path in paths}
    ordered = [[path for path in paths if masking[path.name] == number] for number, paths in enumerate(drop_ins)]
    ordered[last][:0] = [found[last]] if _is_there(found[last]) else []
    return [path for paths in ordered for path in paths]


def _drop_ins(directory: Path) -> list[Path]:
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError([Problem(str(directory), 0, "", str(error.strerror))]) from None
    return [directory / name for name in sorted(names) if name.endswith(".toml") and not name.startswith(".")]


def _is_there(path: Path) -> bool:
    """Whether there is such a name; one that cannot be read is an error later on."""
    return os.path.lexists(path)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where it comes from.

    Attributes:
        config: what is in force.
        origins: where each key is written, by how errors call it, as in ``rule.edge.addresses[0]``.
        files: those that were read, in that order.
    """

    config: Config
    origins: Mapping[str, Origin]
    files: tuple[str, ...]


def load(paths: Iterable[Path]) -> Loaded:
    """Read files, a later one over an earlier one.

    Raises:
        ConfigError: with all that is wrong in any of them.
    """
    written = _Written()
    for path in paths:
        written.read(path)
    return written.loaded()


def parse(text: str, file: str = "configuration") -> Loaded:
    """The same from a text; `file` is what it is called.

    Raises:
        ConfigError: with all that is wrong in it.
    """
    written = _Written()
    written.files.append(file)
    written.add(text, file)
    return written.loaded()


SECTIONS: Final = Table(Config)
RULE: Final = Table(Rule)
_KEYS: Final = (*SECTIONS.keys, "rule")
_WHERE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class _Written:
    """What is written in all the files that were read so far."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.problems: list[Problem] = []
        self.origins: dict[str, Origin] = {}
        self.sections: dict[str, object] = {}
        self.rules: dict[str, dict[str, object]] = {}

    def read(self, path: Path) -> None:
        """Add a file."""
        self.files.append(str(path))
        if path.is_fifo() and path.parent not in _OPEN_ALREADY:
            self._wrong(str(path), 0, "it is a named pipe, and would be waited for")
            return
        try:
            with path.open("rb") as stream:
                data = stream.read(_LARGEST + 1)
        except (OSError, ValueError) as error:
            self._wrong(str(path), 0, getattr(error, "strerror", None) or str(error))
            return
        if len(data) > _LARGEST:
            self._wrong(str(path), 0, f"it is larger than {_LARGEST >> 20} MiB")
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._wrong(str(path), line, f"it is no UTF-8: {error.reason}, 0x{data[error.start]:02x}")
        else:
            self.add(text, str(path))

    def add(self, text: str, file: str) -> None:
        """Add a text that comes from there."""
        try:
            tree = tomllib.loads(text)
            spot = Spot(file, lines(text))
        except RecursionError:
            self._wrong(file, 0, "arrays or tables are nested too deep")
        except ValueError as error:  # TOMLDecodeError is one, and so is a number with thousands of digits
            self._no_toml(file, str(error), text)
        else:
            self._add_tree(tree, spot)
            self.problems += spot.problems

    def _no_toml(self, file: str, why: str, text: str) -> None:
        where = _WHERE.search(why)
        line = 0 if where is None else int(where[1] or text.count("\n") + 1)
        column = f" at column {where[2]}" if where is not None and where[2] else ""
        self._wrong(file, line, f"it is no TOML{column}: {_WHERE.sub('', why)}")

    def _wrong(self, file: str, line: int, text: str) -> None:
        self.problems.append(Problem(file, line, "", text))

    def _add_tree(self, tree: Mapping[str, object], spot: Spot) -> None:
        for name, value in tree.items():
            if name == "rule":
                self._add_rules(value, spot)
            elif name in SECTIONS.keys:
                for written in spot[name].read(SECTIONS.keys[name].kind, value):
                    _lay(self.sections, {name: written})
            else:
                spot[name].wrong(f"no such section{near_or_all(name, _KEYS)}")
        self._add_origins(spot.origins)

    def _add_origins(self, origins: Mapping[str, Origin]) -> None:
        """Where things are written; an array that is written again leaves nothing of the one before."""
        kept = {key: it for key, it in self.origins.items() if key.partition("[")[0] not in origins}
        self.origins = {**kept, **origins}

    def _add_rules(self, value: object, spot: Spot) -> None:
        array = spot["rule"]
        if not isinstance(value, list):
            array.wrong(f"{shown(value)} is not an array of tables; begin each rule with [[rule]]")
            return
        here: dict[str, Spot] = {}
        for number, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            at = array.named(number, f"rule.{name}") if isinstance(name, str) and is_rule_name(name) else array[number]
            for written in at.read(RULE, item):
                self._add_rule(written, at, here, is_named=name is not None)

    def _add_rule(self, written: dict[str, object], at: Spot, here: dict[str, Spot], *, is_named: bool) -> None:
        """Add a rule, or what is said of one once more; `here` are those of the same file."""
        if not is_named:
            at.wrong('it has no name; give it one, such as name = "edge"')
        if not isinstance(name := written.get("name"), str):
            return
        if name in here:
            at["name"].wrong(f"a second rule {name} in one file; the first is in line {here[name].origin.line}")
            return
        here[name] = at
        _lay(self.rules.setdefault(name, {}), written)

    # --- as a whole ---

    def loaded(self) -> Loaded:
        """What it comes down to."""
        self._check()
        if self.problems:
            order = {file: number for number, file in enumerate(self.files)}
            raise ConfigError(sorted(self.problems, key=lambda it: (order[it.file], it.line)))
        rules = tuple(map(RULE.made, self.rules.values())) or (BUILT_IN,)
        return Loaded(replace(SECTIONS.made(self.sections), rules=rules), self.origins, tuple(self.files))

    def _check(self) -> None:
        """Look for what can be wrong only between values, which may be of several files."""
        told = {problem.key.partition("[")[0] for problem in self.problems}
        for name, rule in self.rules.items():
            key = f"rule.{name}.namespaces"
            if rule.get("enabled", True) and not rule.get("namespaces") and key not in told:
                self._wrong_rule(name, "namespaces", "it says of no namespaces that it is about them")
            fights = rule.get("fights")
            if isinstance(fights, dict) and fights.get("first_wait", 0) > fights.get("longest_wait", inf):
                self._wrong_rule(name, "fights.longest_wait", "it is less than first_wait")

    def _wrong_rule(self, name: str, key: str, text: str) -> None:
        path = f"rule.{name}.{key}"
        origin = self.origins.get(path) or self.origins[f"rule.{name}"]
        self.problems.append(Problem(*origin, path, text))


def _lay(under: dict[str, object], over: Mapping[str, object]) -> None:
    """Lay what a later file says over what an earlier one says; tables are laid over one another key by key."""
    for name, value in over.items():
        below = under.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            _lay(below, value)
        else:
            under[name] = value
