"""A machine whose netlink door is fired at, and what must hold whatever comes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from errno import ECONNREFUSED, EMSGSIZE, ENOBUFS, ENODATA
from struct import Struct
from typing import Final

from addrsvc import Linux
from addrsvc.af_netlink.groups import NGROUPS
from addrsvc.af_netlink.sock import NetlinkSock
from addrsvc.af_netlink.table import Datagram
from addrsvc.errors import KernelError
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, RouteMsg
from addrsvc.uapi import (
    IFF_UP,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETADDRLABEL,
    RTM_GETANYCAST,
    RTM_GETLINK,
    RTM_GETLINKPROP,
    RTM_GETMULTICAST,
    RTM_GETNEIGH,
    RTM_GETNEIGHTBL,
    RTM_GETNETCONF,
    RTM_GETNSID,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
    RTN_MULTICAST,
    SOL_NETLINK,
)
from tests.fidelity.notation import spelled
from tests.fidelity.scenarios.wire import NAMES
from tests.fidelity.wire import type_name
from tests.fuzz.generator import HEADER_LENGTHS, message

__all__ = ["LEFTOVERS", "WHOLE", "Broken", "Target", "messages", "served"]

NLMSGHDR: Final = Struct("=IHHII")
_S32: Final = Struct("=i")
ERROR, DONE = 2, 3
REQUEST, DUMP = 0x1, 0x300
MAX_ERRNO: Final = 4095
LONGEST: Final = 10_000
"""Datagrams that the longest dump may have."""
ADDRESSES, LINKS = 24, 4
"""From which on room is made: state may grow with what is asked for, memory may not."""
WHOLE: Final = 16
"""Datagrams between two looks at everything that a dump tells, instead of at what matters most."""
DUMPS: Final = [
    message(nlmsg_type, REQUEST | DUMP, bytes((family,)).ljust(HEADER_LENGTHS[nlmsg_type & ~3], b"\0"))
    for nlmsg_type, families in {
        RTM_GETLINK: (0, 10), RTM_GETADDR: (0,), RTM_GETROUTE: (2, 10), RTM_GETNEIGH: (0,), RTM_GETRULE: (0,),
        RTM_GETMULTICAST: (2, 10), RTM_GETANYCAST: (10,), RTM_GETNEIGHTBL: (0,), RTM_GETNETCONF: (2, 10),
        RTM_GETNSID: (0,), RTM_GETLINKPROP: (0,), RTM_GETADDRLABEL: (10,),
    }.items()
    for family in families
]  # fmt: skip
CROWDS: Final = [
    message(nlmsg_type, REQUEST | DUMP, bytes((family,)).ljust(12, b"\0"))
    for nlmsg_type, family in ((RTM_GETROUTE, 2), (RTM_GETROUTE, 10), (RTM_GETRULE, 0), (RTM_GETADDRLABEL, 10))
]
CROWD: Final = 40
"""From which on routes, rules and labels are thinned out."""
NOT_SENT: Final = (ENODATA, EMSGSIZE, ECONNREFUSED)


def _is_route_to_groups(msg: Message) -> bool:
    return isinstance(msg, RouteMsg) and (msg.rtm_type, msg.rtm_dst_len) == (RTN_MULTICAST, 8)


# What the kernel itself leaves of a request that it refuses: which of the messages that a dump shows more or less then.
LEFTOVERS: Final[Mapping[int, Callable[[Message], bool]]] = {
    # Of several changes those that came before the one that is refused, with all that came of them.
    RTM_NEWLINK: lambda _: True,
    RTM_SETLINK: lambda _: True,
    # The route that every device but lo has for multicast groups, which comes before the address is looked at.
    RTM_NEWADDR: _is_route_to_groups,
}
LO: Final = LinkMsg(ifi_index=1, ifname="lo", ifalias="", mtu=65536)
LO_DOWN: Final = LinkMsg(ifi_index=1, ifi_flags=0, ifi_change=IFF_UP)


class Broken(AssertionError):
    """Something does not hold: what, and the datagram after which it does not."""

    def __init__(self, what: str, datagram: bytes) -> None:
        super().__init__(f"{what}\nafter {datagram.hex()}")


class Target:
    """A machine with a namespace, sockets of several kinds that ask, and one that listens to everything.

    Attributes:
        counts: what came of the datagrams so far, for a reader who wants to know that they were not all the same.
    """

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self.linux = Linux(effects=False)
        self.net = self.linux.init_net
        self.counts: Counter[str] = Counter() if counts is None else counts
        asking = (self._asker(), self._asker(NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK),
                  self._asker(NETLINK_EXT_ACK, NETLINK_CAP_ACK))  # fmt: skip
        self._askers = (*asking * 3, self._asker(admin=False))
        self._listener = self.net.socket()
        self._listener.bind()
        for group in range(1, NGROUPS + 1):
            self._listener.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self._looker = self._asker()
        self._state = self.net.dump()
        self._whole: list[bytes] | None = None
        """All dumps, byte for byte, since when only refusals have come."""

    def _asker(self, *options: int, admin: bool = True) -> NetlinkSock:
        sock = self.net.socket(admin=admin)
        for option in options:
            sock.setsockopt(SOL_NETLINK, option, 1)
        sock.bind()
        return sock

    def feed(self, datagram: bytes, asker: int = 0) -> None:
        """Send a datagram and read all that comes of it.

        Raises:
            Broken: something does not hold.
        """
        sock = self._askers[asker % len(self._askers)]
        self.counts["datagrams"] += 1
        try:
            sock.send(datagram)
        except KernelError as refused:
            if refused.errno not in NOT_SENT:
                raise Broken(f"send() is refused with {refused}", datagram) from refused
            self.counts[f"not sent: {refused.name}"] += 1
            return
        refusals = self._answers(sock, datagram)
        self._check_state(datagram, refusals)

    def hear(self) -> None:
        """Read what was told to everybody.

        Raises:
            Broken: it is no netlink.
        """
        for told in self._read(self._listener, b""):
            if not 0 < told.group <= NGROUPS:
                raise Broken(f"a notification of group {told.group}", told.data)
            self.counts["notifications"] += sum(1 for _ in messages(told.data))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and take the state as it is then."""
        self.linux.advance(seconds)
        self._state, self._whole = self.net.dump(), None

    def make_room(self) -> None:
        """Delete what has been made, by requests, if it has become much; and give lo its name back."""
        self._request(LO)
        self._delete(ADDRESSES, LINKS)
        for told in CROWDS:
            self._thin_out(told, CROWD)
        self._state, self._whole = self.net.dump(), None

    def clear(self) -> None:
        """Delete everything that requests can delete, whether it has become much or not."""
        self._request(LO)
        self._request(LO_DOWN)
        self._delete(0, 0)
        for told in CROWDS:
            self._thin_out(told, 0)
        self.hear()
        self.pass_time(0)

    def size(self) -> int:
        """How much state there is: what dumps tell, and routing tables, of which the empty ones are not told of."""
        net = self.net.net
        told = sum(1 for request in DUMPS for answer in self._asked(request) for _ in messages(answer.data))
        return told + len(net.ipv6.fib6_tables) + len(net.ipv4.fib_tables)

    def _delete(self, addresses_from: int, links_from: int) -> None:
        addresses = [msg for msg in self._state if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR]
        links = [msg for msg in self._state if isinstance(msg, LinkMsg) and msg.ifi_index != 1]
        if len(addresses) > addresses_from or len(links) > links_from:
            self.counts["made room"] += 1
            for address in addresses:
                self._request(_deletion(address))
            for link in links:
                self._request(LinkMsg(RTM_DELLINK, ifi_index=link.ifi_index))

    def _thin_out(self, told: bytes, crowd_from: int) -> None:
        """Delete all that a dump tells, if that is much, by sending back what it tells as something to delete."""
        crowd = [datagram.data[offset : offset + length] for datagram in self._asked(told)
                 for nlmsg_type, offset, length in messages(datagram.data) if nlmsg_type != DONE]  # fmt: skip
        if len(crowd) > crowd_from:
            self.counts["thinned out"] += 1
            for one in crowd:
                _, nlmsg_type, _, seq, _ = NLMSGHDR.unpack_from(one)
                deletion = NLMSGHDR.pack(len(one), nlmsg_type + 1, REQUEST, seq, 0) + one[NLMSGHDR.size :]
                list(self._asked(deletion))

    def _request(self, msg: Message) -> None:
        try:
            self.net.request(msg)
        except KernelError as refused:
            self.counts[f"no room: {refused.name}"] += 1

    # --- what must hold ---

    def _answers(self, sock: NetlinkSock, datagram: bytes) -> int:
        """How many changes were refused; every answer must be well-formed, and to us."""
        refusals, dumps, done = 0, 0, 0
        for answer in self._read(sock, datagram):
            for nlmsg_type, offset, length in messages(answer.data, datagram):
                portid = NLMSGHDR.unpack_from(answer.data, offset)[4]
                if portid != sock.portid:
                    raise Broken(f"an answer to port {portid}", datagram)
                if nlmsg_type == ERROR:
                    refusals += self._refusal(answer.data, offset, length, datagram)
                dumps += nlmsg_type not in (ERROR, DONE)
                done += nlmsg_type == DONE
        self.counts["answers"] += dumps
        self.counts["dumps"] += done
        if sock.dump is not None:
            raise Broken("a dump does not end", datagram)
        return refusals

    def _read(self, sock: NetlinkSock, datagram: bytes) -> Iterator[Datagram]:
        for _ in range(LONGEST):
            try:
                if not sock.queue and not sock.sk_err:
                    return
                yield sock.recv()
            except KernelError as lost:
                if lost.errno != ENOBUFS:
                    raise Broken(f"recv() is refused with {lost}", datagram) from lost
                self.counts["overruns"] += 1
        raise Broken("the answer does not end", datagram)

    def _refusal(self, data: bytes, offset: int, length: int, datagram: bytes) -> bool:
        if length < 36:
            raise Broken(f"an acknowledgement of {length} bytes", datagram)
        (errno,) = _S32.unpack_from(data, offset + 16)
        if not -MAX_ERRNO <= errno <= 0:
            raise Broken(f"errno {errno}", datagram)
        nlmsg_type = NLMSGHDR.unpack_from(data, offset + 20)[1]
        came_of_it = f"refused: {NAMES.get(-errno, -errno)}" if errno else f"done: {_name(nlmsg_type)}"
        self.counts[came_of_it] += 1
        return errno != 0 and is_change(nlmsg_type)

    def _check_state(self, datagram: bytes, refusals: int) -> None:
        """Where every change that was asked for was refused, there must be none; a dump changes nothing either."""
        changes = [nlmsg_type for nlmsg_type in served(datagram) if is_change(nlmsg_type)]
        if len(changes) > refusals:
            self._state, self._whole = self.net.dump(), None
            return
        state = self.net.dump()
        changed = [] if state == self._state else _differing(self._state, state)
        if not all(any(LEFTOVERS.get(it, _nothing)(msg) for it in changes) for msg in changed):
            what = "\n".join(map(spelled, changed))
            raise Broken(f"what was refused has changed something:\n{what}", datagram)
        self.counts["half-done"] += bool(changed)
        self._state, self._whole = state, None if changed else self._whole
        if not self.counts["datagrams"] % WHOLE:
            self._check_whole(datagram)

    def _check_whole(self, datagram: bytes) -> None:
        whole = [answer.data for request in DUMPS for answer in self._asked(request)]
        if self._whole not in (None, whole):
            raise Broken("what was refused lately has changed what a dump tells", datagram)
        self._whole = whole
        self.counts["looks at everything"] += 1

    def _asked(self, request: bytes) -> Iterator[Datagram]:
        self._looker.send(request)
        return self._read(self._looker, request)


def _differing(before: tuple[Message, ...], after: tuple[Message, ...]) -> list[Message]:
    """What is in one and not in the other; all of both, where only the order is another."""
    differing = [msg for one, other in ((before, after), (after, before)) for msg in one if msg not in other]
    return differing or [*before, *after]


def _name(nlmsg_type: int) -> str:
    return type_name(nlmsg_type) if nlmsg_type < 124 else "type > 123"


def _nothing(_: Message) -> bool:
    return False


def _deletion(msg: AddrMsg) -> AddrMsg:
    return AddrMsg(RTM_DELADDR, ifa_family=msg.ifa_family, ifa_prefixlen=msg.ifa_prefixlen, ifa_index=msg.ifa_index,
                   local=msg.local or msg.address, address=msg.address)  # fmt: skip


# --- netlink, as little of it as need be ------------------------------------------------------------------------------


def messages(data: bytes, sent: bytes = b"") -> Iterator[tuple[int, int, int]]:
    """Type, offset and length of each message of a datagram of the kernel's, which has nothing else in it."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < NLMSGHDR.size:
            raise Broken(f"{len(data) - offset} bytes behind the last message", sent)
        length, nlmsg_type = NLMSGHDR.unpack_from(data, offset)[:2]
        if not NLMSGHDR.size <= length <= len(data) - offset:
            raise Broken(f"a message of {length} bytes in a datagram of {len(data)}", sent)
        yield nlmsg_type, offset, length
        offset += length + 3 & ~3


def served(data: bytes) -> Iterator[int]:
    """The type of each request that a datagram of ours holds: up to the first length that cannot be."""
    offset = 0
    while len(data) - offset >= NLMSGHDR.size:
        length, nlmsg_type, flags = NLMSGHDR.unpack_from(data, offset)[:3]
        if not NLMSGHDR.size <= length <= len(data) - offset:
            return
        if flags & REQUEST and nlmsg_type >= 16:
            yield nlmsg_type
        offset += length + 3 & ~3


def is_change(nlmsg_type: int) -> bool:
    """Whether a request is one to change something, and not to tell it."""
    return nlmsg_type & 3 != 2
