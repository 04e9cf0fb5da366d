"""The texts that a configuration may hold, beside addresses: names of all kinds, and where to listen."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from addrsvc.errors import ControlError
from addrsvc.keeper.kinds import Integer, Spot, Text, Wrong, near, shown
from addrsvc.keeper.places import Place

__all__ = ["GROUP", "LISTEN", "Listen", "Named", "RULE_NAME", "SELECTOR", "USER", "is_rule_name"]


# --- users and groups -------------------------------------------------------------------------------------------------


def _user(name: str) -> int:
    from pwd import getpwall, getpwnam

    try:
        return getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise Wrong(f"there is no user {name!r}{near(name, [it.pw_name for it in getpwall()])}") from None


def _group(name: str) -> int:
    from grp import getgrall, getgrnam

    try:
        return getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise Wrong(f"there is no group {name!r}{near(name, [it.gr_name for it in getgrall()])}") from None


@dataclass(frozen=True, slots=True)
class Named:
    """A number, or a name that stands for it."""

    number_of: Callable[[str], int]

    def read(self, value: object, at: Spot) -> int:
        """The number."""
        return self.number_of(value) if isinstance(value, str) else _ID.read(value, at)

    def plain(self, value: object) -> object:
        """The number."""
        return value

    def schema(self) -> dict[str, object]:
        """An integer or a string."""
        return {"anyOf": [_ID.schema(), {"type": "string", "pattern": "^[^:]+$"}]}


_ID: Final = Integer(0, 0xFFFFFFFE)
USER: Final = Named(_user)
GROUP: Final = Named(_group)


# --- where to listen --------------------------------------------------------------------------------------------------


class Listen(NamedTuple):
    """Where to listen: at a path, or at a port of a local address; nowhere if neither is said."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if not self.host:
            return _OFF
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_OFF: Final = "off"
_LISTEN: Final = "unix:/PATH, 127.0.0.1:PORT, [::1]:PORT or off"
_LOCAL: Final = {"127.0.0.1": "127.0.0.1", "[::1]": "::1"}
_PORTS: Final = range(1, 65536)
_LONGEST_PATH: Final = 107


def _listen(text: str) -> Listen:
    if text == _OFF:
        return Listen()
    scheme, _, path = text.partition(":")
    if scheme == "unix":
        return Listen(path=_socket_path(path))
    host, _, digits = text.rpartition(":")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len("65535") and int(digits) in _PORTS):
        raise Wrong(f"{shown(text)} is not {_LISTEN}")
    if host not in _LOCAL:
        raise Wrong(f"{shown(text)} is not {_LISTEN}: who is elsewhere may ask a proxy")
    return Listen(host=_LOCAL[host], port=int(digits))


def _socket_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path or len(path.encode()) > _LONGEST_PATH:
        raise Wrong(f"{shown(path)} is not an absolute path of at most {_LONGEST_PATH} bytes")
    return path


LISTEN: Final = Text(_listen, _LISTEN, str, r"^(off|unix:/[^\u0000]+|(127\.0\.0\.1|\[::1\]):[0-9]{1,5})$")


# --- rules and namespaces ---------------------------------------------------------------------------------------------

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME_IS: Final = "a name of letters, digits, _ and -"


def is_rule_name(text: str) -> bool:
    """Whether a rule may be called that; a key that stands for it needs no quotes then."""
    return _NAME.fullmatch(text) is not None


def _rule_name(text: str) -> str:
    if not is_rule_name(text):
        raise Wrong(f"{shown(text)} is not {_NAME_IS}")
    return text


RULE_NAME: Final = Text(_rule_name, _NAME_IS, str, f"^{_NAME.pattern}$")

_SELECTOR_IS: Final = "host, a name or glob below /run/netns, docker:GLOB, pid:NUMBER or a path"
_PREFIXES: Final = ("docker", "pid")
_LONGEST_NAME: Final = 255


def _selector(text: str) -> str:
    """A selector as it is spelled best."""
    try:
        place = Place.of(text)
    except ControlError:
        raise Wrong(f"{shown(text)} is not {_SELECTOR_IS}") from None
    if "\0" in text or len(place.name.encode()) > _LONGEST_NAME:
        raise Wrong(f"{shown(text)} is not {_SELECTOR_IS}")
    prefix, colon, _ = text.partition(":")
    if colon and place.label == text and prefix not in _PREFIXES and (hint := near(prefix, _PREFIXES)):
        raise Wrong(f"{shown(text)} is not {_SELECTOR_IS}{hint}")
    return place.label


SELECTOR: Final = Text(_selector, _SELECTOR_IS, str, r"^[^\u0000]+$")
