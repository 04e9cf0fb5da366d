"""lo of the model, reached by the model's packet sockets."""

from contextlib import suppress
from errno import EAGAIN, EINVAL

from netaddr import IPAddress

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.model.af_packet import packet_bind, packet_create, packet_recvmsg, packet_release, packet_snd
from addrsvc.model.ethtool import ethtool_set_features
from addrsvc.model.ping import ping_create, ping_release, ping_sendmsg
from addrsvc.model.rtnl import rtmsg_ifinfo_build, rtnl_lock
from addrsvc.model.udp import udp_bind, udp_create, udp_recvmsg, udp_sendmsg
from addrsvc.uapi import AF_INET, AF_INET6, ETH_P_ALL, PACKET_OUTGOING, RTM_NEWLINK
from tests.packets.generator import OPEN_PORT, SENDER
from tests.packets.outcome import MARKER, MARKER_PROTOCOL, Counters, Seen, stats_counters

__all__ = ["ModelLo"]

_BIG = 1 << 27


class ModelLo:
    """lo of one namespace of the model: switched, sent to, looked at."""

    def __init__(self, linux: Linux | None = None) -> None:
        self.linux = linux or Linux(effects=False)
        self.net: Namespace = self.linux.init_net
        self.lo = self.net.device("lo")
        self._plain, self._vnet, self._capture = (packet_create(self.net.net) for _ in range(3))
        self._vnet.vnet_hdr = self._capture.vnet_hdr = True
        for sock in (self._plain, self._vnet, self._capture):
            sock.sk_rcvbuf = sock.sk_sndbuf = _BIG
        packet_bind(self._capture, self.lo.ifindex, ETH_P_ALL)

        self._open = [udp_create(self.net.net, family) for family in (AF_INET6, AF_INET)]
        self._senders = [udp_create(self.net.net, family) for family in (AF_INET6, AF_INET)]
        for sk in self._open:
            udp_bind(sk, sk.saddr, OPEN_PORT)
        for sk in self._senders:
            udp_bind(sk, sk.saddr, int.from_bytes(SENDER))

    def deaf(self) -> None:
        packet_release(self._capture)

    def close(self) -> None:
        for sock in (self._plain, self._vnet, self._capture):
            packet_release(sock)

    # --- switching ---

    def up(self, up: bool = True) -> None:
        self.net.link_set("lo", up=up)

    def mtu(self, mtu: int) -> None:
        self.net.link_set("lo", mtu=mtu)

    def address(self, address: bytes) -> None:
        self.net.link_set("lo", address=address)

    def features(self, mask: int, wanted: int) -> None:
        with rtnl_lock(self.linux.machine):
            ethtool_set_features(self.lo, mask, wanted)
        self.linux.settle()

    # --- packets ---

    def send(self, frame: bytes, protocol: int, vnet: bytes | None) -> int:
        sock = self._plain if vnet is None else self._vnet
        try:
            packet_snd(sock, (vnet or b"") + frame, self.lo.ifindex, protocol)
        except KernelError as error:
            return error.errno or EINVAL
        return 0

    def seen(self) -> list[Seen]:
        found: list[Seen] = []
        for _ in range(2):
            if self.send(MARKER, MARKER_PROTOCOL, None) == 0:
                self._until_marker(found)
        return found

    def _until_marker(self, found: list[Seen]) -> None:
        while True:
            one = self._receive()
            if one.frame != MARKER:
                found.append(one)
            elif one.pkttype != PACKET_OUTGOING:
                return

    def _receive(self) -> Seen:
        try:
            msg = packet_recvmsg(self._capture)
        except KernelError as error:
            if error.errno == EAGAIN:
                raise
            return Seen.refused(error.errno or EINVAL)
        name, aux = msg.name, msg.auxdata
        vlan = aux.tp_vlan_tci, aux.tp_vlan_tpid
        return Seen(
            name.sll_protocol, name.sll_pkttype, msg.data[10:], msg.data[:10], aux.tp_status, aux.tp_len, aux.tp_net,
            vlan,
        )  # fmt: skip

    def udp(self, data: bytes, addr: str, port: int) -> int:
        packed = IPAddress(addr).packed
        try:
            udp_sendmsg(self._senders[len(packed) == 4], data, packed, port)
        except KernelError as error:
            return error.errno or EINVAL
        return 0

    def ping(self, data: bytes, addr: str) -> int:
        packed = IPAddress(addr).packed
        sk = ping_create(self.net.net, AF_INET6 if len(packed) == 16 else AF_INET)
        try:
            ping_sendmsg(sk, data, packed, 1)
        except KernelError as error:
            return error.errno or EINVAL
        finally:
            ping_release(sk)
        return 0

    def datagrams(self) -> list[bytes]:
        found = []
        for sk in self._open:
            with suppress(KernelError):
                while True:
                    found.append(udp_recvmsg(sk).data)
        return found

    # --- counters ---

    def counters(self) -> Counters:
        with rtnl_lock(self.linux.machine):
            link = rtmsg_ifinfo_build(RTM_NEWLINK, self.lo, 0)
        assert link.stats64 is not None
        return stats_counters(link.stats64)

    def snmp(self) -> dict[str, int]:
        """The counters of IPv6 and IPv4 of the namespace, by name."""
        return {name: number for name, number in self.net.net.mib.items() if number}
