"""What keeps the name ``localhost`` from leading to ::1: the files of the C library, and who else it asks."""

import shlex
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from addrsvc.daemon.finding import BROKEN, WARNING, Check, Finding, in_netns
from addrsvc.daemon.loopback_checks import NO_LOOPBACK6
from addrsvc.daemon.names import LOCALHOST, HostsLine, Names
from addrsvc.daemon.symptoms import Facts

__all__ = ["NAME_CHECKS"]


def _names(facts: Facts) -> Names:
    assert facts.names is not None
    return facts.names


def _severity(names: Names) -> str:
    """Of a fault in the files: another service may know localhost all the same."""
    return WARNING if "::1" in names.answer else BROKEN


_ANSWERS_ITSELF: Final = "myhostname"
"""The service of nsswitch.conf that knows localhost without any file."""


def _nsswitch(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if names.order and not {"files", _ANSWERS_ITSELF} & set(names.order):
        yield Finding(
            "nsswitch", _severity(names), f"{names.nsswitch} has no files among hosts: {' '.join(names.order)}",
            f"nobody reads {names.hosts} then, and whether {LOCALHOST} is found is up to others",
            (f"sed -i 's/^\\([[:space:]]*hosts:\\)/\\1 files/' {shlex.quote(names.nsswitch)}",),
        )  # fmt: skip


def _hosts(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    ours = [line for line in names.lines if line.address == "::1" and LOCALHOST in line.names]
    if any(not line.is_commented for line in ours) or _ANSWERS_ITSELF in names.order:
        return
    path = shlex.quote(names.hosts)
    if ours:
        number = ours[0].number
        yield Finding(
            "hosts", _severity(names), f"line {number} of {names.hosts}, ::1 {LOCALHOST}, is commented out",
            _WITHOUT_LINE, (f"sed -i '{number}s/^[#[:space:]]*//' {path}",),
        )  # fmt: skip
    else:
        yield Finding(
            "hosts", _severity(names), f"{names.hosts} has no line ::1 {LOCALHOST}{_who_has(names)}",
            _WITHOUT_LINE, (f"echo '::1 {LOCALHOST}' >> {path}",),
        )  # fmt: skip


_WITHOUT_LINE: Final = f"the C library finds {LOCALHOST} at the addresses that the file has for it, and at no others"


def _who_has(names: Names) -> str:
    others = [line.address for line in names.lines if LOCALHOST in line.names and not line.is_commented]
    return f"; {LOCALHOST} is {', '.join(others)} there" if others else ""


def _getaddrinfo(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if names.failure:
        yield Finding(
            "getaddrinfo", BROKEN, f"{LOCALHOST} is not found: {names.failure}",
            f"{names.nsswitch} says who is asked, and nobody of them knew",
            look=(f"getent -s files ahosts {LOCALHOST}",),
        )  # fmt: skip
    elif "::1" not in names.answer:
        yield Finding(
            "getaddrinfo", BROKEN, f"{LOCALHOST} is {', '.join(names.answer)}, and not ::1",
            f"the files have it; of the services in {names.nsswitch} another one answered before",
            look=(f"getent ahosts {LOCALHOST}",),
        )  # fmt: skip


def _first(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if not names.answer or names.answer[0] == "::1" or "::1" not in names.answer:
        return
    lines = [it.number for it in names.precedences]
    path = shlex.quote(names.gai)
    yield Finding(
        "precedence", WARNING, f"{LOCALHOST} is {names.answer[0]} first, and ::1 only then",
        f"the precedences of {names.gai} say so; where it has any, none of RFC 6724's holds" if lines else
        "where it can be reached RFC 6724 has ::1 first",
        tuple(f"sed -i '{number}s/^/#/' {path}" for number in lines),
    )  # fmt: skip


def _addrconfig(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    if "::1" in names.answer and "::1" not in names.configured:
        yield Finding(
            "addrconfig", WARNING, f"{LOCALHOST} is {', '.join(names.configured) or 'nowhere'} for programs that ask "
            "with AI_ADDRCONFIG, and not ::1",
            "the C library leaves out a family of which no device has an address, and ::1 does not count; an IPv6 "
            "address on any device would, a link-local one too",
            look=(in_netns(facts, f"getent ahosts {LOCALHOST}"),),
        )  # fmt: skip


def _strangers(facts: Facts) -> Iterator[Finding]:
    names = _names(facts)
    for address in names.answer:
        if not ip_address(address).is_loopback:
            lines = [line.number for line in names.lines if _is_stranger(line, address)]
            yield Finding(
                "strangers", BROKEN if address == names.answer[0] else WARNING, f"{LOCALHOST} is also {address}",
                "programs try all the addresses that they find, in order, and this one leads elsewhere",
                tuple(f"sed -i '{number}s/[[:space:]]{LOCALHOST}\\b//' {shlex.quote(names.hosts)}" for number in lines),
                () if lines else (f"getent ahosts {LOCALHOST}",),
            )  # fmt: skip


def _is_stranger(line: HostsLine, address: str) -> bool:
    return not line.is_commented and LOCALHOST in line.names and ip_address(line.address) == ip_address(address)


_NOT_FOUND: Final = ("nsswitch", "hosts", "getaddrinfo")

NAME_CHECKS: Final = (
    Check("nsswitch", "the hosts file is read", _nsswitch),
    Check("hosts", "the hosts file has ::1 for localhost", _hosts, ("nsswitch",)),
    Check("getaddrinfo", "localhost is found at ::1", _getaddrinfo, ("nsswitch", "hosts")),
    Check("strangers", "localhost leads nowhere else", _strangers),
    Check(
        "addrconfig", "localhost is found at ::1 with AI_ADDRCONFIG too", _addrconfig, (*NO_LOOPBACK6, *_NOT_FOUND)
    ),
    Check("precedence", "localhost is ::1 first", _first, (*NO_LOOPBACK6, *_NOT_FOUND, "strangers")),
)  # fmt: skip
