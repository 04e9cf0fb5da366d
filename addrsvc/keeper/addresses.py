"""Addresses as a configuration writes them: read, checked for whether lo may have them, and written again."""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, NamedTuple

from addrsvc.keeper.kinds import Text, Wrong

__all__ = ["ADDRESS", "Prefix", "route_is_wrong", "service_is_wrong"]


class Prefix(NamedTuple):
    """An address in network order, 4 or 16 bytes, and how many of its bits it stands for."""

    address: bytes
    prefixlen: int

    @property
    def bits(self) -> int:
        """How many there are."""
        return len(self.address) * 8

    @property
    def is_whole(self) -> bool:
        """Whether it is the address and no other."""
        return self.prefixlen == self.bits

    def __str__(self) -> str:
        text = inet_ntop(AF_INET if len(self.address) == _IPV4 else AF_INET6, self.address)
        return text if self.is_whole else f"{text}/{self.prefixlen}"

    def covers(self, other: "Prefix") -> bool:
        """Whether the other one lies in it."""
        return (
            len(self.address) == len(other.address)
            and self.prefixlen <= other.prefixlen
            and _network(self) == _network(Prefix(other.address, self.prefixlen))
        )


_IPV4: Final = 4


def _network(prefix: Prefix) -> int:
    return int.from_bytes(prefix.address, "big") >> (prefix.bits - prefix.prefixlen)


def read(text: str) -> Prefix:
    """An address, with or without the length of a prefix.

    Raises:
        Wrong: it is none.
    """
    word, slash, digits = text.partition("/")
    try:
        address = inet_pton(AF_INET6 if ":" in word else AF_INET, word)
    except (OSError, ValueError):
        raise Wrong(f"{text!r} is not {ACCEPTS}{_name_hint(word)}") from None
    bits = len(address) * 8
    if not slash:
        return Prefix(address, bits)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS and int(digits) <= bits):
        raise Wrong(f"{text!r}: {digits!r} is not a prefix length from 0 to {bits}")
    return Prefix(address, int(digits))


_DIGITS: Final = 3
ACCEPTS: Final = "an address, such as fd00::1 or 192.0.2.1"


def _name_hint(word: str) -> str:
    return "; a zone makes no sense here" if "%" in word else ""


ADDRESS: Final = Text(read, ACCEPTS, str, "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")


# --- what lo may have -----------------------------------------------------------------------------------------------

_LEAVE_THAT: Final = "lo has it by itself"
_ROWS: Final = {
    "::/128": "nothing can be reached by it",
    "::1/128": f'{_LEAVE_THAT}: say loopback = "ensure", "forbid" or "leave"',
    "::ffff:0.0.0.0/96": "write it as an IPv4 address",
    "fe80::/10": "an address that holds on one link only is of no use on lo",
    "ff00::/8": "nobody has a multicast address",
    "0.0.0.0/8": "nothing can be reached by it",
    "127.0.0.1/32": f"{_LEAVE_THAT} as soon as it is up",
    "224.0.0.0/4": "nobody has a multicast address",
    "255.255.255.255/32": "nobody has the broadcast address",
}
_REFUSED: Final = tuple((read(text), why) for text, why in _ROWS.items())
"""What lo must not be given, and why.  Link-local addresses of IPv4 are not among it: on lo they serve well."""


def service_is_wrong(prefix: Prefix) -> str | None:
    """Why lo may not have this address, or None."""
    if not prefix.is_whole:
        return f"an address is wanted, a /{prefix.bits}; say route = true to have a local route to all of {prefix}"
    return next((f"{prefix}: {why}" for refused, why in _REFUSED if refused.covers(prefix)), None)


_WIDEST: Final = {32: 8, 128: 16}
"""By the length of an address, the shortest prefix: what is wider takes what others have."""


def route_is_wrong(prefix: Prefix) -> str | None:
    """Why there may be no local route to this prefix, or None."""
    if prefix.prefixlen < _WIDEST[prefix.bits]:
        return f"{prefix}: a local route this wide would take what is not ours; /{_WIDEST[prefix.bits]} is the widest"
    if int.from_bytes(prefix.address, "big") & ((1 << prefix.bits - prefix.prefixlen) - 1):
        return f"{prefix}: there are bits behind the prefix; did you mean {_masked(prefix)}?"
    for refused, why in _REFUSED:
        if refused.covers(prefix):
            return f"{prefix}: {why}"
        if prefix.covers(refused):
            return f"{prefix}: it would cover {refused}"
    return None


def _masked(prefix: Prefix) -> Prefix:
    behind = prefix.bits - prefix.prefixlen
    network = int.from_bytes(prefix.address, "big") >> behind << behind
    return Prefix(network.to_bytes(len(prefix.address), "big"), prefix.prefixlen)
