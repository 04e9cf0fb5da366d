"""net/netlink/af_netlink.c: sockets without a file descriptor, whose datagrams are served before send() returns.

What a system call would do a method does, with the same errors; only that nothing ever blocks.  A socket's own port id
and groups, its queue and what overruns it, and dumps stand here.  Next door are its options (sockopt), the sockets of a
machine as a whole (table), and acknowledgements (ack); what a request means is nowhere near.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from errno import (
    EADDRINUSE,
    EAGAIN,
    EBUSY,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENODATA,
    EPERM,
)
from itertools import chain
from struct import Struct
from typing import Final

from addrsvc.af_netlink.ack import ACK_LENGTH, acks, explain, netlink_ack, netlink_dump_done
from addrsvc.af_netlink.groups import NGROUPS
from addrsvc.af_netlink.rcv import LANES, rtnetlink_rcv_msg
from addrsvc.af_netlink.request import NEXT_DATAGRAM, NLMSGHDR, Dump, Handler, Lane, Request
from addrsvc.af_netlink.sockopt import netlink_getsockopt, netlink_setsockopt
from addrsvc.af_netlink.table import Datagram, NetlinkTable
from addrsvc.af_netlink.truesize import NLMSG_GOODSIZE, truesize_of_ack
from addrsvc.errors import KernelError
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.skbuff import skb_truesize
from addrsvc.model.structs import Asker, Net
from addrsvc.netlink.nlattr import NLMSG_ALIGN, ExtAck
from addrsvc.uapi import (
    NLM_F_ACK,
    NLM_F_ECHO,
    NLM_F_REQUEST,
    NLMSG_MIN_TYPE,
    Rtnlgrp,
)

__all__ = ["NetlinkSock"]

_HDRLEN: Final = NLMSGHDR.size
_S32: Final = Struct("=i")
_BUFFER_DEFAULT: Final = 212992
_ACK_TRUESIZE: Final = truesize_of_ack(ACK_LENGTH)
_MAX_RECVMSG_LEN: Final = 32768 - 320
"""SKB_WITH_OVERHEAD(32768)."""


@dataclass(slots=True, eq=False)
class NetlinkSock:
    """struct netlink_sock of NETLINK_ROUTE, opened in one namespace.

    Attributes:
        admin: the opener has CAP_NET_ADMIN over the namespace; without it, only GET requests are served.
        uid: who asks, to rules by uid and in RTA_UID of look-ups; it may be somebody else from one request to the next.
        pid: the port id to have if none is asked for, as the process id is for a kernel's socket.
        on_ready: called whenever there is something to read that was not there before.
    """

    table: NetlinkTable
    net: Net
    admin: bool = True
    uid: int = 0
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
            self.may_hear(group)
        self._bind(portid)
        if wanted or self.groups:
            self.listen({group for group in self.groups if group > 32} | wanted)

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
        self.listen(groups)

    def may_hear(self, group: int) -> None:
        """See that the socket may listen to a group.

        Kernel: net/core/rtnetlink.c, rtnetlink_bind().

        Raises:
            KernelError: EPERM, only an administrator may.
        """
        if group in (Rtnlgrp.RTNLGRP_IPV4_MROUTE_R, Rtnlgrp.RTNLGRP_IPV6_MROUTE_R) and not self.may_admin():
            raise KernelError(EPERM)

    def listen(self, groups: set[int]) -> None:
        """Listen to these groups and no others, each of which may be heard.  Ours."""
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
        """Set an option: see sockopt.netlink_setsockopt()."""
        netlink_setsockopt(self, level, option, value)

    def getsockopt(self, level: int, option: int, length: int = 64) -> bytes:
        """What an option is, as bytes: see sockopt.netlink_getsockopt()."""
        return netlink_getsockopt(self, level, option, length)

    def may_admin(self) -> bool:
        """Whether the socket may change anything.

        Kernel: net/netlink/af_netlink.c, netlink_net_capable() for CAP_NET_ADMIN.
        """
        return self.admin and not (self.table.faults is not None and self.table.faults.denies(self))

    def close(self) -> None:
        """End the socket; a second time does nothing."""
        self.listen(set())
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
        if not self.bound:
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
            served = self._serve_in_lane(lanes[nlmsg_type], data, offset, length) if nlmsg_type in lanes else 0
            if not served:
                self._serve(Request(self, self.net, data[offset : offset + length], nlmsg_type, flags, seq))
            offset += served or NLMSG_ALIGN(length)
        self.table.settle()

    def _serve_in_lane(self, lane: Lane, data: bytes, offset: int, length: int) -> int:
        """How many bytes of messages are served; the last of them may have been refused."""
        served, refusal = lane(self.net, data, offset, length, self._grant)
        if refusal is not None:
            length, nlmsg_type, flags, seq, _ = NLMSGHDR.unpack_from(data, offset + served)
            refused = data[offset + served : offset + served + length]
            self._refuse(Request(self, self.net, refused, nlmsg_type, flags, seq), refusal)
            served += NLMSG_ALIGN(length)
        return served

    def _grant(self, headers: list[bytes]) -> None:
        """Acknowledge requests that were granted, then say what the model has said since."""
        if headers:
            self.take_all(_ACK_TRUESIZE, acks(headers, self.portid))
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
            self._acknowledge(request, netlink_ack(request, 0))

    def _refuse(self, request: Request, refusal: KernelError) -> None:
        explain(request, refusal)
        self._acknowledge(request, netlink_ack(request, refusal.errno or EINVAL))

    def _acknowledge(self, request: Request, ack: bytes) -> None:
        if self.table.faults is None:
            self.deliver(ack)
        else:
            self.table.faults.acknowledge(request, ack)

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
                    length = NLMSG_ALIGN(len(message))
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
            explain(dump, refusal)
            done = -(refusal.errno or EINVAL)
        if more and dump.split_done:
            dump.extack, dump.base_seq = ExtAck(), None  # the end is told without asking the handler again
        if not dump.full and not more:
            if used + _HDRLEN + _S32.size <= room:
                parts.append(netlink_dump_done(dump, done, room - used))
                self.dump = None
            else:
                dump.steps, dump.done_errno = iter(()), done
        self._enqueue(truesize, b"".join(parts))

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
        queue = self.queue
        if self.sk_err or not queue:
            raise self._failure()
        if size > self.max_recvmsg_len:
            self.max_recvmsg_len = min(size, _MAX_RECVMSG_LEN)
        truesize, data, portid, group, nsid = queue[0]
        if not peek:
            queue.popleft()
            self.rmem_alloc -= truesize
        if self.dump is not None and self.rmem_alloc <= self.rcvbuf // 2:
            self._go_on(self.dump)
        if not queue:
            self.congested = False
        return Datagram(data, portid, group, nsid)

    def _failure(self) -> KernelError:
        errno, self.sk_err = self.sk_err or EAGAIN, 0
        if not self.queue:
            self.congested = False
        return KernelError(errno)

    def _go_on(self, dump: Dump) -> None:
        try:
            self._dump_on(dump)
        except KernelError as failure:
            self._report(failure.errno or EINVAL)

    def __iter__(self) -> Iterator[Datagram]:
        """Read until there is nothing left."""
        while self.queue:
            yield self.recv()
