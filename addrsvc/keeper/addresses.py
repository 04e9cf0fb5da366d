"""Addresses as a configuration writes them: read, checked for whether lo may have them, and written again."""

from collections.abc import Mapping
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, NamedTuple

from addrsvc.keeper.kinds import Text, Wrong

__all__ = ["ADDRESS", "ADOPTED", "Prefix", "read_prefix", "route_is_wrong", "service_is_wrong"]


class Prefix(NamedTuple):
    """An address in network order, 4 or 16 bytes, and how many of its bits it stands for."""

    address: bytes
    prefixlen: int

    @property
    def bits(self) -> int:
        """How many there are."""
        return len(self.address) * 8

    @property
    def whole(self) -> "Prefix":
        """The address and no other."""
        return Prefix(self.address, self.bits)

    @property
    def network(self) -> "Prefix":
        """The same without what stands behind the prefix."""
        number = _first(self.address, self.prefixlen) << (self.bits - self.prefixlen)
        return Prefix(number.to_bytes(len(self.address), "big"), self.prefixlen)

    def covers(self, other: "Prefix") -> bool:
        """Whether the other one lies in it; both are of the same family."""
        return self.prefixlen <= other.prefixlen and _first(self.address, self.prefixlen) == _first(
            other.address, self.prefixlen
        )

    def __str__(self) -> str:
        text = inet_ntop(_FAMILIES[len(self.address)], self.address)
        return text if self.prefixlen == self.bits else f"{text}/{self.prefixlen}"


_FAMILIES: Final = {4: AF_INET, 16: AF_INET6}


def _first(address: bytes, bits: int) -> int:
    """The first bits of an address, as a number."""
    return int.from_bytes(address, "big") >> (len(address) * 8 - bits)


def read_prefix(text: str) -> Prefix:
    """An address by its text, whole unless the length of a prefix stands behind it.

    Raises:
        Wrong: it is none.
    """
    word, slash, digits = text.partition("/")
    try:
        address = inet_pton(AF_INET6 if ":" in word else AF_INET, word)
    except (OSError, ValueError):
        raise Wrong(f"{text!r} is not {_ACCEPTS}{'; a zone makes no sense here' if '%' in word else ''}") from None
    bits = len(address) * 8
    return Prefix(address, _length(text, digits, bits) if slash else bits)


_DIGITS: Final = 3
_ACCEPTS: Final = "an address, such as fd00::1 or 192.0.2.1"


def _length(text: str, digits: str, bits: int) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS and int(digits) <= bits):
        raise Wrong(f"{text!r}: {digits!r} is not a prefix length from 0 to {bits}")
    return int(digits)


def _adopted(text: str) -> Prefix:
    """An address that somebody else may have given to lo, with whatever length."""
    prefix = read_prefix(text)
    if (why := service_is_wrong(prefix.whole)) is not None:
        raise Wrong(why)
    return prefix


_PATTERN: Final = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"
ADDRESS: Final = Text(read_prefix, _ACCEPTS, str, _PATTERN)
ADOPTED: Final = Text(_adopted, _ACCEPTS, str, _PATTERN)


# --- what lo may have -------------------------------------------------------------------------------------------------

_ROWS: Final = {
    "::": "nothing can be reached by it",
    "::1": 'lo has it by itself: say loopback = "ensure", "forbid" or "leave"',
    "::ffff:0.0.0.0/96": "write it as an IPv4 address",
    "fe80::/10": "an address that holds on one link only is of no use on lo",
    "ff00::/8": "nobody has a multicast address",
    "0.0.0.0/8": "nothing can be reached by it",
    "127.0.0.1": "lo has it by itself as soon as it is up",
    "224.0.0.0/4": "nobody has a multicast address",
    "255.255.255.255": "nobody has the broadcast address",
}


def _of_family(bits: int) -> tuple[tuple[Prefix, str], ...]:
    rows = ((read_prefix(text), why) for text, why in _ROWS.items())
    return tuple((prefix, why) for prefix, why in rows if prefix.bits == bits)


_REFUSED: Final[Mapping[int, tuple[tuple[Prefix, str], ...]]] = {bits: _of_family(bits) for bits in (32, 128)}
"""What lo must not be given, and why, by the length of an address.

Link-local addresses of IPv4 are not among it: on lo they serve well, as those of node-local caches do.
"""
_WIDEST: Final = {32: 8, 128: 16}
"""By the length of an address, the shortest prefix of a route: what is wider takes what others have."""


def service_is_wrong(prefix: Prefix) -> str | None:
    """Why lo may not have this address, or None."""
    if prefix.prefixlen != prefix.bits:
        return f"an address is wanted, a /{prefix.bits}; say route = true to have a local route to all of {prefix}"
    return next((f"{prefix}: {why}" for refused, why in _REFUSED[prefix.bits] if refused.covers(prefix)), None)


def route_is_wrong(prefix: Prefix) -> str | None:
    """Why there may be no local route to this prefix, or None."""
    if prefix.prefixlen < (widest := _WIDEST[prefix.bits]):
        return f"{prefix}: a local route this wide would take what is not ours; /{widest} is the widest"
    if prefix != prefix.network:
        return f"{prefix}: there are bits behind the prefix; did you mean {prefix.network}?"
    for refused, why in _REFUSED[prefix.bits]:
        if refused.covers(prefix):
            return f"{prefix}: {why}"
        if prefix.covers(refused):
            return f"{prefix}: it would cover {refused}"
    return None
