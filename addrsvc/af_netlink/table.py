"""net/netlink/af_netlink.c, struct netlink_table: the sockets of a machine, and how what is said comes to them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from errno import ECONNREFUSED
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from addrsvc.af_netlink.faults import Faults, Telling
from addrsvc.af_netlink.groups import group_of
from addrsvc.af_netlink.truesize import large_truesize, truesize_of, truesize_of_link
from addrsvc.errors import KernelError
from addrsvc.model.skbuff import skb_truesize
from addrsvc.model.structs import Machine, Net, RtnlNotify, Said
from addrsvc.netlink.codec import encode
from addrsvc.netlink.messages import LinkMsg

if TYPE_CHECKING:
    from addrsvc.af_netlink.sock import NetlinkSock

__all__ = ["Datagram", "NetlinkTable"]

_U32_MAX: Final = 0xFFFFFFFF
_FIRST_NEGATIVE_PORTID: Final = -4097


def _lowest(groups: int) -> int:
    """The lowest group of a mask, 0 if there is none."""
    return (groups & -groups).bit_length()


_data_of: Final[Callable[[Any], bytes]] = itemgetter(2)


def _alike(said: Said) -> tuple[str, int, int] | None:
    """Namespace, group and length of what was said in bytes: those that have them in common are sent together."""
    return (said[0], said[1], len(said[2])) if isinstance(said, tuple) else None


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
        for alike, run in groupby(said, _alike):
            if alike is not None:
                net, group, _ = alike
                self._tell_bytes(net, group, [*map(_data_of, run)])
                continue
            for each in run:
                if isinstance(each, RtnlNotify):
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

    def _tell_bytes(self, net: str, group: int, messages: list[bytes]) -> None:
        """Send notifications of one length, which are in bytes already, all at once."""
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
