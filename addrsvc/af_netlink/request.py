"""One request being served, and what serves it: the two halves of a row in rtnetlink's table of handlers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from errno import EAGAIN
from struct import Struct
from sys import byteorder
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from addrsvc.af_netlink.truesize import truesize_of_reply
from addrsvc.errors import KernelError
from addrsvc.model.rtnl import rtnl_notify
from addrsvc.model.structs import Net, NetDevice
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import WireMessage
from addrsvc.netlink.nlattr import ExtAck
from addrsvc.uapi import NLM_F_DUMP_INTR, NLM_F_MULTI

if TYPE_CHECKING:
    from addrsvc.af_netlink.sock import NetlinkSock

__all__ = [
    "NEXT_DATAGRAM", "NLMSGHDR", "Doit", "Dump", "Dumpit", "Grant", "Handler", "Lane", "Request",
    "for_each_netdev_dump", "resumable",
]  # fmt: skip

NLMSGHDR: Final = Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""

NEXT_DATAGRAM: Final = b""
"""What a dump yields to have what follows, be it the end, in a datagram of its own: the kernel's `return skb->len`."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Request:
    """One message as it came: struct sk_buff and struct nlmsghdr, as far as a handler looks at them.

    Attributes:
        data: the message from its header on, exactly nlmsg_len bytes, so that offsets count from the header.
        extack: what the acknowledgement will say besides the errno.
        tb: where the payload of each attribute lies (offset, length), once a handler has parsed them; by it a
            refusal that names an attribute finds its place.
        must_arrive: whether it is an error that a notification is lost (see send).
    """

    sock: "NetlinkSock"
    net: Net
    data: bytes
    nlmsg_type: int
    flags: int
    seq: int
    extack: ExtAck = field(default_factory=ExtAck)
    tb: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    must_arrive: bool = False

    @property
    def portid(self) -> int:
        """Who asks."""
        return self.sock.portid

    @property
    def strict(self) -> bool:
        """Whether the socket wants GET requests checked strictly (NETLINK_GET_STRICT_CHK)."""
        return self.sock.strict_chk

    def payload(self, attr: int) -> bytes | None:
        """The payload of an attribute, or None where the message has none such."""
        place = self.tb.get(attr)
        return None if place is None else self.data[place[0] : place[0] + place[1]]

    def number(self, attr: int, size: int = 4, *, signed: bool = False) -> int | None:
        """The first `size` bytes of an attribute as a number in the host's order."""
        place = self.tb.get(attr)
        if place is None:
            return None
        return int.from_bytes(self.data[place[0] : place[0] + size], byteorder, signed=signed)

    def reply(self, datagram: bytes, truesize: int | None = None) -> None:
        """Send a datagram back to who asks, now: before the acknowledgement.

        Args:
            datagram: what is sent.
            truesize: what it counts against the receive buffer, unless a page was allocated for it.

        Kernel: net/core/rtnetlink.c, rtnl_unicast().

        Raises:
            KernelError: EAGAIN, there is no room for it.
        """
        if not self.sock.take(truesize or truesize_of_reply(len(datagram)), datagram):
            raise KernelError(EAGAIN)

    def send(self, msg: WireMessage, *, must_arrive: bool = True) -> None:
        """Say a value to who listens.

        That one of them misses it who wants that to be an error is one (ENOBUFS), unless it need not arrive.

        Kernel: net/core/rtnetlink.c, rtnetlink_send().
        """
        rtnl_notify(self.net, msg, asked=True)
        self.must_arrive = must_arrive

    def answer(self, msg: WireMessage) -> None:
        """Send a value back to who asks."""
        self.reply(encode(msg, self.seq, self.portid))


@dataclass(slots=True, eq=False)
class Dump(Request):
    """struct netlink_callback: a dump under way, which goes on whenever its socket has been read.

    Attributes:
        answer_flags: flags of every message of the dump, NLM_F_DUMP_FILTERED among them.
        min_dump_alloc: bytes that one datagram has to hold, where that is more than the usual.
        room: bytes that the datagram has left.
        full: the datagram had no room for the last message: it is asked for again.
        split_done: its end comes in a datagram of its own.
        lossy: what the first datagram has no room for is never told, since the kernel forgets to come back for it.
        done_errno: what the dump ended with, negative if it was refused.
        interrupted: it is marked NLM_F_DUMP_INTR throughout, whatever changes.
        base_seq: counts changes to what is dumped; a dump during which it changes is marked NLM_F_DUMP_INTR.
    """

    answer_flags: int = 0
    min_dump_alloc: int = 0
    room: int = 0
    full: bool = False
    base_seq: Callable[[], int] | None = None
    prev_seq: int = 0
    split_done: bool = False
    lossy: bool = False
    done_errno: int = 0
    interrupted: bool = False
    steps: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def nlmsg_flags(self) -> int:
        """The flags of the next message.

        Kernel: include/net/netlink.h, nl_dump_check_consistent().
        """
        flags = NLM_F_MULTI | self.answer_flags | NLM_F_DUMP_INTR * self.interrupted
        if self.base_seq is not None:
            seq = self.base_seq() or 1
            if self.prev_seq and seq != self.prev_seq:
                flags |= NLM_F_DUMP_INTR
            self.prev_seq = seq
        return flags

    def message(self, msg: WireMessage, flags: int = 0) -> bytes:
        """A value as the next message of the dump, with flags of its own beside those of all."""
        return encode(replace(msg, nlmsg_flags=self.nlmsg_flags() | flags), self.seq, self.portid)


Doit: TypeAlias = Callable[[Request], None]
Dumpit: TypeAlias = Callable[[Dump], Iterator[bytes]]
Grant: TypeAlias = Callable[[list[bytes]], None]
"""Acknowledges requests that were granted, given their headers, and then tells what has been said."""
Lane: TypeAlias = Callable[[Net, bytes, int, int, Grant], tuple[int, KernelError | None]]
"""Serves the messages of a datagram from one on, given its offset and length, as long as they are in one usual form.

Gives how many bytes it has served, and the refusal of the message behind those, if that has been refused already.
"""


@dataclass(frozen=True, slots=True)
class Handler:
    """struct rtnl_link: who serves a message type for a family.

    Attributes:
        doit: serves one request; replies through it, refuses by KernelError.
        dumpit: yields the messages of a dump, each of them complete but for padding, or several of them joined where
            there is room for all.  A refusal ends the dump.  An empty message ends the datagram, unless that is empty:
            some of the kernel's dumps come back once more only to find that they have nothing left.
        bulk_delete: NLM_F_BULK is understood (RTNL_FLAG_BULK_DEL_SUPPORTED).
        calcit: how many bytes a datagram of the dump has to hold, 0 for the usual.
        split_done: the end of a dump comes in a datagram of its own (RTNL_FLAG_DUMP_SPLIT_NLM_DONE).
    """

    doit: Doit | None = None
    dumpit: Dumpit | None = None
    bulk_delete: bool = False
    split_done: bool = False
    calcit: Callable[[Request], int] | None = None


def resumable(dump: Dump, items: Callable[[], list[T]]) -> Iterator[T]:
    """Walk a list that may change between two datagrams of a dump, by position, as the kernel's dumps do.  Ours.

    When a datagram is full its last item is yielded again, or what stands in its place by then.
    """
    position, current = 0, items()
    while position < len(current):
        yield current[position]
        if dump.full:
            dump.full = False
            current = items()
        else:
            position += 1


def for_each_netdev_dump(dump: Dump, net: Net | None = None) -> Iterator[NetDevice]:
    """Walk the devices of a namespace by rising index; one that had no room comes again, if it is still there.

    Without a namespace, of the one that the dump was asked for in.

    Kernel: include/linux/netdevice.h, for_each_netdev_dump().
    """
    devs = (net or dump.net).dev_base_head
    first: int | None = 0
    while first is not None:
        start, first = first, None
        for ifindex in sorted(index for index in devs if index >= start):
            yield devs[ifindex]
            if dump.full:
                dump.full, first = False, ifindex
                break
