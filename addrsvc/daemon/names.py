"""How programs find ``localhost`` by its name: the files that say so, and what comes of them.

The files are those of the caller's /etc, over which ``ip netns exec NAME`` lays what is in /etc/netns/NAME.
"""

import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from addrsvc.errors import AddrsvcError
from addrsvc.mirror.child import in_a_child
from addrsvc.mirror.libc import CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE, mount, unshare
from addrsvc.mirror.netns import NETNS_RUN_DIR, NetNs, run_in

__all__ = ["LOCALHOST", "HostsLine", "Names", "Precedence", "look_up_names", "overlay"]

LOCALHOST: Final = "localhost"
_ETC: Final = Path("/etc")
_PER_NETNS: Final = Path("/etc/netns")
_PATIENCE: Final = 5
"""Seconds that a resolver may take."""


@dataclass(frozen=True, slots=True)
class HostsLine:
    """A line of a hosts file that is about an address, counted from 1."""

    number: int
    address: str
    names: tuple[str, ...]
    is_commented: bool = False


@dataclass(frozen=True, slots=True)
class Precedence:
    """A ``precedence`` of gai.conf, and the number of its line."""

    number: int
    prefix: str
    value: int


@dataclass(frozen=True, slots=True)
class Names:
    """What there is about names in one namespace.

    Attributes:
        hosts, nsswitch, gai: which files count.
        lines: of the hosts file.
        order: who is asked for a host, by nsswitch.conf, in this order; empty where it does not say.
        precedences: of gai.conf.
        answer: the addresses that getaddrinfo(3) finds for localhost, in its order.
        configured: those that it finds with AI_ADDRCONFIG.
        failure: why it finds none.
    """

    hosts: str = "/etc/hosts"
    nsswitch: str = "/etc/nsswitch.conf"
    gai: str = "/etc/gai.conf"
    lines: tuple[HostsLine, ...] = ()
    order: tuple[str, ...] = ()
    precedences: tuple[Precedence, ...] = ()
    answer: tuple[str, ...] = ()
    configured: tuple[str, ...] = ()
    failure: str = ""


def overlay(spec: str) -> dict[str, Path]:
    """The files, by name, that count in a namespace below /run/netns instead of those in /etc."""
    if "/" in spec or not (NETNS_RUN_DIR / spec).exists():
        return {}
    directory = _PER_NETNS / spec
    return {path.name: path for path in sorted(directory.iterdir())} if directory.is_dir() else {}


def look_up_names(netns: NetNs, instead: dict[str, Path]) -> Names:
    """Read the files, and ask the resolver inside the namespace."""
    hosts, nsswitch, gai = (instead.get(name, _ETC / name) for name in ("hosts", "nsswitch.conf", "gai.conf"))
    answer, configured, failure = _resolve(netns, instead)
    return Names(
        str(hosts), str(nsswitch), str(gai), tuple(_hosts(_text(hosts))), _order(_text(nsswitch)),
        tuple(_precedences(_text(gai))), answer, configured, failure,
    )  # fmt: skip


# --- files ------------------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _hosts(text: str) -> Iterator[HostsLine]:
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.lstrip("# \t")
        address, *names = bare.partition("#")[0].split() or [""]
        if names and _is_address(address):
            yield HostsLine(number, address, tuple(names), line.lstrip().startswith("#"))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_HOSTS_LINE: Final = re.compile(r"^\s*hosts:(.*)", re.MULTILINE)
"""The C library takes a number sign behind it for one more service."""


def _order(text: str) -> tuple[str, ...]:
    """The services, without what is to be done after each."""
    found = _HOSTS_LINE.search(text)
    return tuple(re.sub(r"\[[^]]*\]", " ", found[1]).split()) if found else ()


def _precedences(text: str) -> Iterator[Precedence]:
    for number, line in enumerate(text.splitlines(), 1):
        match line.partition("#")[0].split():
            case ["precedence", prefix, value] if value.isdecimal():
                yield Precedence(number, prefix, int(value))


# --- the resolver -----------------------------------------------------------------------------------------------------


_Addresses: TypeAlias = tuple[str, ...]


def _resolve(netns: NetNs, instead: dict[str, Path]) -> tuple[_Addresses, _Addresses, str]:
    """Ask in a child process, which has mounts of its own, has read no file before, and can be given up.

    Returns:
        What was answered, what was answered with AI_ADDRCONFIG, and why nothing was.
    """

    def ask() -> tuple[_Addresses, _Addresses, str]:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE)
        if instead:
            _lay_over(instead)
        return run_in(netns, _getaddrinfos)

    try:
        return in_a_child(ask)
    except ChildProcessError:
        return (), (), f"no answer within {_PATIENCE} s"
    except (AddrsvcError, OSError) as error:
        return (), (), str(error)


def _lay_over(instead: dict[str, Path]) -> None:
    """What ``ip netns exec`` does, in the calling process."""
    unshare(CLONE_NEWNS)
    mount("none", Path("/"), MS_SLAVE | MS_REC)
    for name, path in instead.items():
        if (_ETC / name).exists():
            mount(str(path), _ETC / name, MS_BIND)


def _getaddrinfos() -> tuple[_Addresses, _Addresses, str]:
    try:
        answer = _getaddrinfo(0)
    except socket.gaierror as error:
        return (), (), error.strerror or str(error)
    try:
        return answer, _getaddrinfo(socket.AI_ADDRCONFIG), ""
    except socket.gaierror:
        return answer, (), ""


def _getaddrinfo(flags: int) -> _Addresses:
    found = socket.getaddrinfo(LOCALHOST, None, type=socket.SOCK_STREAM, flags=flags)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
