"""net/netlink/af_netlink.c: sockets without a file descriptor, whose datagrams are served before send() returns.

What a system call would do a method does, with the same errors; only that nothing ever blocks.  A socket's own port id,
groups and options, its queue and what overruns it stand here; what a request means does not.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import (
    EADDRINUSE,
    EAGAIN,
    EBUSY,
    ECONNREFUSED,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENODATA,
    ENOPROTOOPT,
    EPERM,
)
from itertools import chain, groupby
from struct import Struct
from typing import Final, NamedTuple, TypeAlias, cast

from addrsvc.af_netlink.faults import Faults, Telling
from addrsvc.af_netlink.groups import group_of
from addrsvc.af_netlink.rcv import LANES, rtnetlink_rcv_msg
from addrsvc.af_netlink.request import NEXT_DATAGRAM, NLMSGHDR, Dump, Handler, Lane, Request
from addrsvc.af_netlink.truesize import NLMSG_GOODSIZE, large_truesize, truesize_of, truesize_of_ack, truesize_of_link
from addrsvc.errors import KernelError
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.skbuff import skb_truesize
from addrsvc.model.structs import Asker, Machine, Net, RtnlBytes, RtnlNotify, Said
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import LinkMsg
from addrsvc.netlink.nlattr import NLA_F_NESTED, ExtAck, policy_tlv
from addrsvc.uapi import (
    INT_MAX,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_ECHO,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    NLMSGERR_ATTR_COOKIE,
    NLMSGERR_ATTR_MISS_NEST,
    NLMSGERR_ATTR_MISS_TYPE,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
    NLMSGERR_ATTR_POLICY,
    SO_MEMINFO,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOL_NETLINK,
    SOL_SOCKET,
    Rtnlgrp,
)

__all__ = ["NGROUPS", "Datagram", "NetlinkSock", "NetlinkTable"]

NGROUPS: Final = max(Rtnlgrp)
"""Multicast groups of NETLINK_ROUTE."""

_HDRLEN: Final = NLMSGHDR.size
_GRANTED: Final = Struct("=IHH4sIi16s")
_SEQ: Final = slice(8, 12)
"""Where a header has its sequence number."""
_TYPE_AND_FAMILY: Final = Struct("=4xH10xB")
_S32: Final = Struct("=i")
_MEMINFO: Final = Struct("=9I")
_U32: Final = Struct("=I")
_NLATTR: Final = Struct("=HH")
_NLA_TYPE_MASK: Final = 0x3FFF
_U32_MAX: Final = 0xFFFFFFFF
_FIRST_NEGATIVE_PORTID: Final = -4097

_BUFFER_DEFAULT: Final = 212992
_BUFFER_MAX: Final = 4194304
_RCVBUF_MIN: Final = 2304
_SNDBUF_MIN: Final = 4608

_MAX_RECVMSG_LEN: Final = 32768 - 320
"""SKB_WITH_OVERHEAD(32768)."""


def _align(length: int) -> int:
    return length + 3 & ~3


def _lowest(groups: int) -> int:
    """The lowest group of a mask, 0 if there is none."""
    return (groups & -groups).bit_length()


class Datagram(NamedTuple):
    """One datagram in a receive queue, and what recvmsg(2) tells of it beside the bytes.

    Attributes:
        portid: of the sender, 0 being the kernel.
        group: the multicast group it was sent to, 0 for none (NETLINK_PKTINFO).
        nsid: the namespace it comes from, where a socket listens to others too (NETLINK_LISTEN_ALL_NSID).
    """

    data: bytes
    portid: int = 0
    group: int = 0
    nsid: int | None = None

    @property
    def nl_groups(self) -> int:
        """The sender's address as a mask of groups, which knows the first 32 only."""
        return 1 << self.group - 1 if 0 < self.group <= 32 else 0


@dataclass(slots=True, eq=False)
class NetlinkTable:
    """struct netlink_table: the sockets of one machine.

    Attributes:
        pump: hands on what the model has said; called after a request, before its acknowledgement.
        settle: runs the work that is due now; called after the acknowledgement.
        faults: what goes wrong on demand, if anything.
        delivery_failure: somebody who wants that to be an error (NETLINK_BROADCAST_ERROR) has lost a message.
    """

    machine: Machine
    pump: Callable[[], None]
    settle: Callable[[], None]
    socks: dict[tuple[Net, int], "NetlinkSock"] = field(default_factory=dict)
    listeners: list["NetlinkSock"] = field(default_factory=list)
    rover: int = _FIRST_NEGATIVE_PORTID
    faults: Faults | None = None
    _hearers: dict[int, list["NetlinkSock"]] = field(default_factory=dict)
    delivery_failure: bool = False

    def hear(self, said: list[Said]) -> None:
        """Send what the model said to the sockets that listen, in order."""
        if not self.listeners and not any(isinstance(e, RtnlNotify) and e.asker and e.asker.echo for e in said):
            return
        for kind, run in groupby(said, type):
            if kind is tuple:
                self._tell_bytes(cast("Iterator[RtnlBytes]", run))
            elif kind is RtnlNotify:
                for each in cast("Iterator[RtnlNotify]", run):
                    self._notify(each)

    def _notify(self, said: RtnlNotify) -> None:
        """Kernel: net/core/rtnetlink.c, rtnl_notify(); net/netlink/af_netlink.c, nlmsg_notify()."""
        asker, group = said.asker, group_of(said.msg)
        data = encode(said.msg, asker.seq if asker else 0, asker.portid if asker else 0)
        # Who hears the echo is left out; without one it is port 0 that is, and so a socket that has no port id yet.
        truesize = truesize_of_link(data, said.msg) if isinstance(said.msg, LinkMsg) else truesize_of(data)
        self._tell(said.net, group, data, truesize, asker.portid if asker is not None and asker.echo else 0)
        if asker is not None and asker.echo:
            for sock in self.socks.values():
                if sock.portid == asker.portid and sock.net.name == said.net:
                    sock.take(truesize, data, 0, group)

    def _tell_bytes(self, said: Iterable[RtnlBytes]) -> None:
        """Send notifications that are in bytes already: those of one size to one group all at once."""
        for (net, group, _), run in groupby(said, lambda each: (each[0], each[1], len(each[2]))):
            messages = [data for _, _, data in run]
            truesize = truesize_of(messages[0])
            if self.faults is None:
                for sock in self.hearers(group):
                    if sock.portid and sock.hears_of(net):
                        self._mind(sock, taken=sock.take_all(truesize, messages, group, sock.nsid_of(net)))
            else:
                for data in messages:
                    self._tell(net, group, data, truesize, 0)

    def _tell(self, net: str, group: int, data: bytes, truesize: int, left_out: int) -> None:
        """Send a notification to those who listen, but for the one who has this port id."""
        if self.faults is None:
            for sock in self.hearers(group):
                if sock.portid != left_out and sock.hears_of(net):
                    self._mind(sock, taken=sock.take(truesize, data, 0, group, sock.nsid_of(net)))
        elif told := {
            sock: Datagram(data, 0, group, sock.nsid_of(net))
            for sock in self.hearers(group)
            if sock.portid != left_out and sock.hears_of(net)
        }:
            self.faults.tell(Telling(self, Datagram(data, 0, group), truesize, told), net)

    def _mind(self, sock: "NetlinkSock", *, taken: bool) -> None:
        if not taken and sock.broadcast_error:
            self.delivery_failure = True

    def hearers(self, group: int) -> list["NetlinkSock"]:
        """The sockets that listen to a group, the latest first.  Not to be changed."""
        found = self._hearers.get(group)
        if found is None:
            found = self._hearers[group] = [sock for sock in self.listeners if group in sock.groups]
        return found

    def hear_anew(self) -> None:
        """Heed that a socket listens to other groups than before."""
        self._hearers.clear()
        groups = {group for sock in self.listeners for group in sock.groups}
        self.machine.ears.listen(sum(1 << group for group in groups))

    def broadcast(self, sender: "NetlinkSock", data: bytes, portid: int, groups: int) -> None:
        """Send a datagram of a socket's to the others that listen to the lowest of these groups.

        Kernel: net/netlink/af_netlink.c, netlink_broadcast().
        """
        group = _lowest(groups)
        truesize, net = skb_truesize(len(data)), sender.net.name
        for sock in self.hearers(group):
            if sock is not sender and sock.portid != portid and sock.hears_of(net):
                sock.take(truesize, data, sender.portid, group, sock.nsid_of(net))

    def unicast(self, sender: "NetlinkSock", data: bytes, portid: int, groups: int) -> None:
        """Send a datagram of a socket's to another one; if it went to groups before, that still shows.

        Kernel: net/netlink/af_netlink.c, netlink_unicast(), netlink_getsockbyportid().

        Raises:
            KernelError: ECONNREFUSED, nobody has the port id, or he hears another one only; EAGAIN, his buffer is full.
        """
        to = self.socks.get((sender.net, portid))
        if to is None or (to.connected and to.dst_portid != sender.portid):
            raise KernelError(ECONNREFUSED)
        truesize = skb_truesize(len(data)) if groups else large_truesize(len(data))
        to.offer(truesize, data, sender.portid, _lowest(groups))

    def autobind(self, net: Net, wish: int) -> int:
        """A free port id: the one that is wished for (a process id, in a kernel), else one from the negative ones.

        Kernel: net/netlink/af_netlink.c, netlink_autobind().
        Differs: the negative ones are taken in order from -4097 down, where the kernel starts at random.
        """
        portid = wish
        while not portid or (net, portid) in self.socks:
            portid = self.rover & _U32_MAX
            self.rover -= 1
        return portid


_Flag: TypeAlias = str
# One row per option that is a flag, with the member that holds it.
_FLAGS: Final[dict[int, _Flag]] = {
    NETLINK_PKTINFO: "pktinfo",
    NETLINK_BROADCAST_ERROR: "broadcast_error",
    NETLINK_NO_ENOBUFS: "no_enobufs",
    NETLINK_LISTEN_ALL_NSID: "listen_all_nsid",
    NETLINK_CAP_ACK: "cap_ack",
    NETLINK_EXT_ACK: "ext_ack",
    NETLINK_GET_STRICT_CHK: "strict_chk",
}


@dataclass(slots=True, eq=False)
class NetlinkSock:
    """struct netlink_sock of NETLINK_ROUTE, opened in one namespace.

    Attributes:
        admin: the opener has CAP_NET_ADMIN over the namespace; without it, only GET requests are served.
        pid: the port id to have if none is asked for, as the process id is for a kernel's socket.
        on_ready: called whenever there is something to read that was not there before.
    """

    table: NetlinkTable
    net: Net
    admin: bool = True
    pid: int = 0
    on_ready: Callable[[], None] | None = None
    portid: int = 0
    bound: bool = False
    dst_portid: int = 0
    dst_groups: int = 0
    """To whom send() sends without an address (connect)."""
    connected: bool = False
    groups: set[int] = field(default_factory=set)
    ngroups: int = 0
    """Groups that there is room for: none before the socket asks for one."""
    pktinfo: bool = False
    broadcast_error: bool = False
    no_enobufs: bool = False
    listen_all_nsid: bool = False
    cap_ack: bool = False
    ext_ack: bool = False
    strict_chk: bool = False
    rcvbuf: int = _BUFFER_DEFAULT
    sndbuf: int = _BUFFER_DEFAULT
    rmem_alloc: int = 0
    max_recvmsg_len: int = 0
    congested: bool = False
    sk_err: int = 0
    drops: int = 0
    queue: deque[tuple[int, bytes, int, int, int | None]] = field(default_factory=deque)
    """What is to be read: the members of a Datagram, behind what it counts against the receive buffer."""
    dump: Dump | None = None
    """The dump under way (cb, cb_running)."""

    # --- name and options ---

    def bind(self, portid: int = 0, groups: int = 0) -> None:
        """Take a port id, 0 for any, and listen to exactly these of the first 32 groups (a mask).

        Kernel: net/netlink/af_netlink.c, netlink_bind().

        Raises:
            KernelError: EADDRINUSE, the port id is taken; EINVAL, the socket has another one; EPERM, a group that
                only an administrator may hear.
        """
        wanted = {number + 1 for number in range(32) if groups >> number & 1}
        if wanted:
            self.ngroups = NGROUPS
        if self.bound and portid != self.portid:
            raise KernelError(EINVAL)
        for group in sorted(wanted):
            self._may_hear(group)
        self._bind(portid)
        if wanted or self.groups:
            self._listen({group for group in self.groups if group > 32} | wanted)

    def _bind(self, portid: int) -> None:
        """Kernel: net/netlink/af_netlink.c, netlink_insert(): a port id that is taken stays all the same."""
        if self.bound:
            return
        self.portid = portid or self.table.autobind(self.net, self.pid)
        if (self.net, self.portid) in self.table.socks:
            raise KernelError(EADDRINUSE)
        self.bound = True
        self.table.socks[self.net, self.portid] = self

    def name(self, portid: int = 0) -> None:
        """Have a port id, 0 for any, in place of the one it may have.

        Ours: a door may have to tell its client a port id before that says which one it wants.

        Raises:
            KernelError: EADDRINUSE.
        """
        if self.bound and portid in (0, self.portid):
            return
        if (self.net, portid) in self.table.socks:
            raise KernelError(EADDRINUSE)
        self._unname()
        self._bind(portid)

    def _unname(self) -> None:
        if self.bound and self.table.socks.get((self.net, self.portid)) is self:
            del self.table.socks[self.net, self.portid]
        self.bound = False

    def move(self, table: NetlinkTable, net: Net) -> None:
        """Be a socket of another machine, whose name, groups and options stay and whose queue is empty.

        Ours: a machine may begin again under the sockets that a door holds.
        """
        named, groups = self.portid if self.bound else 0, self.groups
        self.close()
        self.table, self.net, self.sk_err, self.congested, self.rmem_alloc = table, net, 0, False, 0
        if named:
            self._bind(named)
        self._listen(groups)

    def _may_hear(self, group: int) -> None:
        """Kernel: net/core/rtnetlink.c, rtnetlink_bind()."""
        if group in (Rtnlgrp.RTNLGRP_IPV4_MROUTE_R, Rtnlgrp.RTNLGRP_IPV6_MROUTE_R) and not self.may_admin():
            raise KernelError(EPERM)

    def _listen(self, groups: set[int]) -> None:
        if groups == self.groups:
            return
        self.groups = groups
        listeners = self.table.listeners
        if groups and self not in listeners:
            listeners.insert(0, self)
        elif not groups and self in listeners:
            listeners.remove(self)
        self.table.hear_anew()

    def getsockname(self) -> tuple[int, int]:
        """The port id, 0 while there is none, and the first 32 groups as a mask."""
        return self.portid, sum(1 << group - 1 for group in self.groups if group <= 32)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set an option; those of SOL_NETLINK, and of SOL_SOCKET the sizes of the buffers.

        Kernel: net/netlink/af_netlink.c, netlink_setsockopt(); net/core/sock.c, sk_setsockopt().

        Raises:
            KernelError: ENOPROTOOPT, no such option; EINVAL, no such group; EPERM.
        """
        if level == SOL_SOCKET:
            self._set_buffer(option, value)
        elif level != SOL_NETLINK:
            raise KernelError(ENOPROTOOPT)
        elif option in (NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP):
            self._set_membership(option, value & _U32_MAX)
        elif option in _FLAGS:
            self._set_flag(option, on=bool(value))
        else:
            raise KernelError(ENOPROTOOPT)

    def _set_membership(self, option: int, group: int) -> None:
        self.ngroups = NGROUPS
        if not 0 < group <= NGROUPS:
            raise KernelError(EINVAL)
        if option == NETLINK_DROP_MEMBERSHIP:
            self._listen(self.groups - {group})
            return
        self._may_hear(group)
        self._listen(self.groups | {group})

    def _set_flag(self, option: int, *, on: bool) -> None:
        if option == NETLINK_LISTEN_ALL_NSID and not self.admin:
            raise KernelError(EPERM)
        setattr(self, _FLAGS[option], on)
        if option == NETLINK_NO_ENOBUFS and on:
            self.congested = False

    def _set_buffer(self, option: int, value: int) -> None:
        force = option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE)
        if option not in (SO_RCVBUF, SO_SNDBUF) and not force:
            raise KernelError(ENOPROTOOPT)
        if force and not self.admin:
            raise KernelError(EPERM)
        size = 2 * min(max(value, 0) if force else min(value & _U32_MAX, _BUFFER_MAX), INT_MAX // 2)
        if option in (SO_RCVBUF, SO_RCVBUFFORCE):
            self.rcvbuf = max(size, _RCVBUF_MIN)
        else:
            self.sndbuf = max(size, _SNDBUF_MIN)

    def getsockopt(self, level: int, option: int, length: int = 64) -> bytes:
        """What an option is, as bytes: how many they are is what getsockopt(2) tells, what fits of them is copied.

        Args:
            level: SOL_NETLINK or SOL_SOCKET.
            option: the option.
            length: the room that the caller says it has.

        Kernel: net/netlink/af_netlink.c, netlink_getsockopt(); net/core/sock.c, sk_getsockopt().

        Raises:
            KernelError: ENOPROTOOPT, no such option; EINVAL, no room.
        """
        if length < 0:
            raise KernelError(EINVAL)
        if level == SOL_SOCKET:
            return self._get_socket(option)[:length]
        if level == SOL_NETLINK and option == NETLINK_LIST_MEMBERSHIPS:
            return sum(1 << group - 1 for group in self.groups).to_bytes(_align((self.ngroups + 7) // 8), "little")
        if level != SOL_NETLINK or option not in _FLAGS:
            raise KernelError(ENOPROTOOPT)
        if length < _S32.size:
            raise KernelError(EINVAL)
        return _S32.pack(getattr(self, _FLAGS[option]))

    def _get_socket(self, option: int) -> bytes:
        if option in (SO_RCVBUF, SO_SNDBUF):
            return _S32.pack(self.rcvbuf if option == SO_RCVBUF else self.sndbuf)
        if option == SO_MEMINFO:
            return _MEMINFO.pack(self.rmem_alloc, self.rcvbuf, 0, self.sndbuf, 0, 0, 0, 0, self.drops)
        raise KernelError(ENOPROTOOPT)

    def may_admin(self) -> bool:
        """Whether the socket may change anything.

        Kernel: net/netlink/af_netlink.c, netlink_net_capable() for CAP_NET_ADMIN.
        """
        return self.admin and not (self.table.faults is not None and self.table.faults.denies(self))

    def close(self) -> None:
        """End the socket; a second time does nothing."""
        self._listen(set())
        self._unname()
        self.dump = None
        self.queue.clear()

    # --- sending: requests ---

    def connect(self, portid: int = 0, groups: int = 0) -> None:
        """Say to whom send() sends, and who alone may send here; 0 is the kernel.

        Kernel: net/netlink/af_netlink.c, netlink_connect().

        Raises:
            KernelError: EPERM, only an administrator may send to others.
        """
        self._may_send(portid, groups)
        self._bind(0)
        self.connected, self.dst_portid, self.dst_groups = True, portid, groups

    def _may_send(self, portid: int, groups: int) -> None:
        """Kernel: net/netlink/af_netlink.c, netlink_allowed() for NL_CFG_F_NONROOT_SEND."""
        if (portid or groups) and not self.admin:
            raise KernelError(EPERM)

    def send(self, data: bytes, portid: int | None = None, groups: int = 0) -> int:
        """Send a datagram: to the kernel, which serves every message in it before this returns, or to other sockets.

        Args:
            data: the datagram.
            portid: to whom, 0 being the kernel; without it, to whom the socket is connected.
            groups: with a port id, also to those who listen to the lowest of these groups (a mask).

        Kernel: net/netlink/af_netlink.c, netlink_sendmsg(), netlink_unicast(), netlink_rcv_skb().

        Raises:
            KernelError: ENODATA, nothing to send; EMSGSIZE, more than the send buffer; ECONNREFUSED, nobody has the
                port id; EAGAIN, its buffer is full; EPERM, only an administrator may send to others.
        """
        if not data:
            raise KernelError(ENODATA)
        if portid is None:
            portid, groups = self.dst_portid, self.dst_groups
        else:
            self._may_send(portid, groups)
        self._bind(0)
        if len(data) > self.sndbuf - 32:
            raise KernelError(EMSGSIZE)
        if groups:
            self.table.broadcast(self, data, portid, groups)
        if portid:
            self.table.unicast(self, data, portid, groups)
            return len(data)
        self._rcv_skb(data)
        return len(data)

    def _rcv_skb(self, data: bytes) -> None:
        """Serve the messages of a datagram, up to the first whose length cannot be; then the work that they left.

        Kernel: net/netlink/af_netlink.c, netlink_rcv_skb().
        """
        offset, end = 0, len(data)
        lanes = LANES if self.admin and self.table.faults is None else {}
        while end - offset >= _HDRLEN:
            length, nlmsg_type, flags, seq, _ = NLMSGHDR.unpack_from(data, offset)
            if not _HDRLEN <= length <= end - offset:
                break
            served = self._serve_in_lane(lanes[nlmsg_type], data, offset) if nlmsg_type in lanes else 0
            if not served:
                self._serve(Request(self, self.net, data[offset : offset + length], nlmsg_type, flags, seq))
            offset += served or _align(length)
        self.table.settle()

    def _serve_in_lane(self, lane: Lane, data: bytes, offset: int) -> int:
        """How many bytes of messages are served; the last of them may have been refused."""
        served, refusal = lane(self.net, data, offset, self._grant)
        if refusal is not None:
            length, nlmsg_type, flags, seq, _ = NLMSGHDR.unpack_from(data, offset + served)
            refused = data[offset + served : offset + served + length]
            self._refuse(Request(self, self.net, refused, nlmsg_type, flags, seq), refusal)
            served += _align(length)
        return served

    def _grant(self, headers: list[bytes]) -> None:
        """Acknowledge requests that were granted, then say what the model has said since."""
        acks = [
            _GRANTED.pack(_GRANTED.size, NLMSG_ERROR, NLM_F_CAPPED, header[_SEQ], self.portid, 0, header)
            for header in headers
        ]
        self.take_all(truesize_of_ack(_GRANTED.size), acks)
        if self.table.machine.effects:
            self.table.pump()

    def _serve(self, request: Request) -> None:
        flags = request.flags
        if flags & NLM_F_REQUEST and request.nlmsg_type >= NLMSG_MIN_TYPE:
            self.table.machine.asker = Asker(self.portid, request.seq, bool(flags & NLM_F_ECHO))
            try:
                if self.table.faults is not None:
                    self.table.faults.strike(request)
                acknowledge = rtnetlink_rcv_msg(request)
            except KernelError as refusal:
                self.table.pump()
                self._refuse(request, refusal)
                return
            finally:
                self.table.machine.asker = None
            self.table.delivery_failure = False
            self.table.pump()
            if not acknowledge:
                return
            if request.must_arrive and self.table.delivery_failure:
                self._refuse(request, KernelError(ENOBUFS))
                return
        if flags & NLM_F_ACK:
            self._acknowledge(request, self._ack(request, 0))

    def _refuse(self, request: Request, refusal: KernelError) -> None:
        _explain(request, refusal)
        self._acknowledge(request, self._ack(request, refusal.errno or EINVAL))

    def _acknowledge(self, request: Request, ack: bytes) -> None:
        if self.table.faults is None:
            self.deliver(ack)
        else:
            self.table.faults.acknowledge(request, ack)

    def _ack(self, request: Request, errno: int) -> bytes:
        """Kernel: net/netlink/af_netlink.c, netlink_ack()."""
        capped = self.cap_ack or not errno
        echoed = request.data[:_HDRLEN] if capped else request.data
        body = _S32.pack(-errno) + echoed
        tlvs = _ack_tlvs(request.extack, errno) if self.ext_ack else b""
        flags = NLM_F_CAPPED * capped | NLM_F_ACK_TLVS * bool(tlvs)
        body = body.ljust(_align(len(body)), b"\0") + tlvs
        return NLMSGHDR.pack(_HDRLEN + len(body), NLMSG_ERROR, flags, request.seq, self.portid) + body

    # --- dumps ---

    def dump_start(self, request: Request, handler: Handler) -> None:
        """Begin a dump and fill its first datagram.

        Kernel: net/netlink/af_netlink.c, __netlink_dump_start().

        Raises:
            KernelError: EBUSY, one is under way.
        """
        if self.dump is not None:
            raise KernelError(EBUSY)
        dump = Dump(self, self.net, request.data, request.nlmsg_type, request.flags, request.seq)
        assert handler.dumpit is not None
        dump.interrupted = self.table.faults is not None and self.table.faults.interrupts(self)
        dump.steps = handler.dumpit(dump)
        if handler.split_done:
            dump.steps, dump.split_done = chain(dump.steps, (NEXT_DATAGRAM,)), True
        dump.min_dump_alloc = handler.calcit(request) if handler.calcit is not None else 0
        self.dump = dump
        self._dump_on(dump)

    def _dump_on(self, dump: Dump) -> None:
        """Fill one datagram.

        Kernel: net/netlink/af_netlink.c, netlink_dump().

        Raises:
            KernelError: ENOBUFS, there is no room for it; it is tried again when there is.
        """
        room = max(dump.min_dump_alloc, NLMSG_GOODSIZE, self.max_recvmsg_len)
        truesize = skb_truesize(room)
        if not self._has_room(truesize):
            raise KernelError(ENOBUFS)
        parts: list[bytes] = []
        used, done, more, dump.room = 0, dump.done_errno, False, room
        try:
            with rtnl_lock(self.net.machine):
                for message in dump.steps:
                    length = _align(len(message))
                    if more := not message and used > 0:
                        break
                    if length > room and not used:
                        dump.steps, done = iter(()), 0 if dump.split_done else -EMSGSIZE
                        break
                    if used + length > room:
                        dump.full, dump.steps = not dump.lossy, iter(()) if dump.lossy else dump.steps
                        break
                    parts.append(message.ljust(length, b"\0"))
                    used += length
                    dump.room = room - used
        except KernelError as refusal:
            _explain(dump, refusal)
            done = -(refusal.errno or EINVAL)
        if more and dump.split_done:
            dump.extack, dump.base_seq = ExtAck(), None  # the end is told without asking the handler again
        if not dump.full and not more:
            if used + _HDRLEN + _S32.size <= room:
                parts.append(self._done(dump, done, room - used))
                self.dump = None
            else:
                dump.steps, dump.done_errno = iter(()), done
        self._enqueue(truesize, b"".join(parts))

    def _done(self, dump: Dump, errno: int, room: int) -> bytes:
        """Kernel: net/netlink/af_netlink.c, netlink_dump_done()."""
        body = _S32.pack(errno)
        flags = dump.nlmsg_flags()
        tlvs = _ack_tlvs(dump.extack, errno) if self.ext_ack else b""
        if tlvs:
            flags |= NLM_F_ACK_TLVS
            body += tlvs if len(tlvs) <= room - _HDRLEN - len(body) else b""
        return NLMSGHDR.pack(_HDRLEN + len(body), NLMSG_DONE, flags, dump.seq, self.portid) + body

    # --- receiving ---

    def hears_of(self, net: str) -> bool:
        """Whether what is said in a namespace comes here.

        Kernel: net/netlink/af_netlink.c, do_one_broadcast().
        """
        return self.net.name == net or self.nsid_of(net) is not None

    def nsid_of(self, net: str) -> int | None:
        """The id that a reader is told of the namespace that something comes from, if it listens to others too.

        Kernel: net/netlink/af_netlink.c, netlink_cmsg_listen_all_nsid().
        """
        if not self.listen_all_nsid:
            return None
        return next((nsid for nsid, known in self.net.netns_ids.items() if known.name == net), None)

    def deliver(self, ack: bytes) -> bool:
        """Queue an acknowledgement, or lose it; whether it was queued.

        Kernel: net/netlink/af_netlink.c, netlink_ack().
        """
        return self.take(truesize_of_ack(len(ack)), ack)

    def take(self, truesize: int, data: bytes, portid: int = 0, group: int = 0, nsid: int | None = None) -> bool:
        """Queue a datagram, or lose it; whether it was queued.

        Args:
            truesize: what it counts against the receive buffer.
            data: the datagram, whose other members follow.
            portid: of the sender.
            group: that it was sent to.
            nsid: of the namespace it comes from.

        Kernel: net/netlink/af_netlink.c, netlink_broadcast_deliver().
        """
        in_use = self.rmem_alloc
        if self.congested or (in_use and in_use + truesize > self.rcvbuf):
            self.overrun()
            return False
        self.rmem_alloc = in_use + truesize
        self.queue.append((truesize, data, portid, group, nsid))
        if self.on_ready is not None:
            self.on_ready()
        return True

    def take_all(self, truesize: int, messages: list[bytes], group: int = 0, nsid: int | None = None) -> bool:
        """Queue datagrams of the kernel's, or lose those that there is no room for; each counts the same.

        Whether there was room for all of them.
        """
        in_use = self.rmem_alloc + truesize * len(messages)
        if self.congested or in_use > self.rcvbuf or self.on_ready is not None:
            taken = [self.take(truesize, data, 0, group, nsid) for data in messages]
            return all(taken)
        self.rmem_alloc = in_use
        self.queue.extend([(truesize, data, 0, group, nsid) for data in messages])
        return True

    def offer(self, truesize: int, data: bytes, portid: int, group: int) -> None:
        """Queue a datagram of another socket's.

        Kernel: net/netlink/af_netlink.c, netlink_attachskb().

        Raises:
            KernelError: EAGAIN, there is no room for it.
        """
        if self.congested or not self._has_room(truesize):
            raise KernelError(EAGAIN)
        self._enqueue(truesize, data, portid, group)

    def _has_room(self, truesize: int) -> bool:
        """A datagram that is too large is taken where there is nothing else."""
        return not self.rmem_alloc or self.rmem_alloc + truesize <= self.rcvbuf

    def _enqueue(self, truesize: int, data: bytes, portid: int = 0, group: int = 0, nsid: int | None = None) -> None:
        self.rmem_alloc += truesize
        self.queue.append((truesize, data, portid, group, nsid))
        if self.on_ready is not None:
            self.on_ready()

    def overrun(self) -> None:
        """Lose a datagram, and have the reader told so once.

        Kernel: net/netlink/af_netlink.c, netlink_overrun().
        """
        self.drops += 1
        if not self.no_enobufs and not self.congested:
            self.congested = True
            self._report(ENOBUFS)

    def _report(self, errno: int) -> None:
        self.sk_err = errno
        if self.on_ready is not None:
            self.on_ready()

    @property
    def readable(self) -> bool:
        """Whether recv() has something to give or to tell: what poll(2) answers."""
        return bool(self.queue or self.sk_err)

    def recv(self, size: int = _MAX_RECVMSG_LEN, *, peek: bool = False) -> Datagram:
        """The next datagram, whole: what a reader with `size` bytes of room keeps of it is the reader's affair.

        Reading makes room, so it is also what makes a dump go on.

        Kernel: net/netlink/af_netlink.c, netlink_recvmsg().

        Raises:
            KernelError: EAGAIN, there is none; ENOBUFS, some were lost since.
        """
        try:
            return self._recv(size, peek=peek)
        finally:
            if not self.queue:
                self.congested = False

    def _recv(self, size: int, *, peek: bool) -> Datagram:
        if self.sk_err:
            errno, self.sk_err = self.sk_err, 0
            raise KernelError(errno)
        if not self.queue:
            raise KernelError(EAGAIN)
        self.max_recvmsg_len = min(max(self.max_recvmsg_len, size), _MAX_RECVMSG_LEN)
        truesize, data, portid, group, nsid = self.queue[0]
        if not peek:
            self.queue.popleft()
            self.rmem_alloc -= truesize
        if self.dump is not None and self.rmem_alloc <= self.rcvbuf // 2:
            self._go_on(self.dump)
        return Datagram(data, portid, group, nsid)

    def _go_on(self, dump: Dump) -> None:
        try:
            self._dump_on(dump)
        except KernelError as failure:
            self._report(failure.errno or EINVAL)

    def __iter__(self) -> Iterator[Datagram]:
        """Read until there is nothing left."""
        while self.queue:
            yield self.recv()


# --- datagrams and acknowledgements -----------------------------------------------------------------------------------


def _explain(request: Request, refusal: KernelError) -> None:
    """Put into the extended acknowledgement what a refusal says, unless the handler has done so."""
    extack = request.extack
    if refusal.extack is not None:
        extack.msg = refusal.extack
    if refusal.attr is not None:
        path = (refusal.attr,) if isinstance(refusal.attr, int) else refusal.attr
        extack.bad_attr = _offset(request.data, request.tb, path)
    if refusal.missing is not None:
        extack.miss_type = refusal.missing


def _offset(data: bytes, tb: Mapping[int, tuple[int, int]], path: tuple[int, ...]) -> int:
    """Where an attribute lies, which is named by the types that lead to it; the last of a type counts."""
    payload, length = tb[path[0]]
    for wanted in path[1:]:
        offset, end = payload, payload + length
        while offset + _NLATTR.size <= end:
            nla_len, nla_type = _NLATTR.unpack_from(data, offset)
            if nla_type & _NLA_TYPE_MASK == wanted:
                payload, length = offset + _NLATTR.size, nla_len - _NLATTR.size
            offset += _align(max(nla_len, _NLATTR.size))
    return payload - _NLATTR.size


def _tlv(kind: int, payload: bytes) -> bytes:
    return (_NLATTR.pack(_NLATTR.size + len(payload), kind) + payload).ljust(_align(_NLATTR.size + len(payload)), b"\0")


def _text_tlv(text: str) -> bytes:
    return _tlv(NLMSGERR_ATTR_MSG, text.encode("utf-8", "surrogateescape") + b"\0")


def _ack_tlvs(extack: ExtAck, errno: int) -> bytes:
    """Kernel: net/netlink/af_netlink.c, netlink_ack_tlv_fill()."""
    tlvs = b""
    if extack.msg is not None:
        tlvs += _text_tlv(extack.msg)
    if extack.cookie:
        tlvs += _tlv(NLMSGERR_ATTR_COOKIE, extack.cookie)
    if not errno:
        return tlvs
    if extack.bad_attr is not None:
        tlvs += _tlv(NLMSGERR_ATTR_OFFS, _U32.pack(extack.bad_attr))
    if extack.policy is not None and (policy := policy_tlv(extack.policy)):
        tlvs += _tlv(NLMSGERR_ATTR_POLICY | NLA_F_NESTED, policy)
    if extack.miss_type is not None:
        tlvs += _tlv(NLMSGERR_ATTR_MISS_TYPE, _U32.pack(extack.miss_type))
    if extack.miss_nest is not None:
        tlvs += _tlv(NLMSGERR_ATTR_MISS_NEST, _U32.pack(extack.miss_nest))
    return tlvs
