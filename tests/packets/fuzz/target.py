"""lo of the model, and what must hold whatever was sent through it."""

from collections import Counter
from collections.abc import Callable
from errno import errorcode
from random import Random
from typing import Final

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.model.af_packet import packet_bind, packet_create, packet_recvmsg, packet_snd
from addrsvc.model.loopback import dev_lstats_read
from addrsvc.model.ping import ping_create, ping_recvmsg
from addrsvc.model.receive import dev_add_pack, dev_remove_pack, do_softirq, netif_receive_skb, netif_rx
from addrsvc.model.skbuff import SkBuff
from addrsvc.model.sock import Sock, skb_set_owner_w
from addrsvc.model.structs import InetSock, NetDevice, PacketType
from addrsvc.model.udp import udp_bind, udp_create, udp_recvmsg
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import AF_INET, AF_INET6, ETH_P_8021AD, ETH_P_8021Q, ETH_P_ALL, PACKET_OUTGOING
from tests.packets.fuzz.generator import HANDLED, Bent

__all__ = ["Broken", "Target"]

_ROOM: Final = 1 << 30
ECHO_PORT: Final = 7
FORGOTTEN: Final = 60
"""Seconds that fragments wait for the rest of their packet."""


class Broken(AssertionError):
    """Something that must hold does not."""


def _may_be_tagged(bent: Bent) -> bool:
    """Whether a VLAN tag may stand at the beginning of a packet, or of what is cut from it."""
    types = {ETH_P_8021Q.to_bytes(2), ETH_P_8021AD.to_bytes(2)}
    start = bytes(14) + bent.linear + b"".join(bent.frags)
    return bent.protocol in (ETH_P_8021Q, ETH_P_8021AD) or any(start.find(tag, 0, 200) >= 0 for tag in types)


class Tally:
    """How often what happened to packets, by all accounts."""

    def __init__(self, lo: NetDevice) -> None:
        self.lo = lo
        self.handled = self.left = self.arrived = self.octets = 0

    def accounts(self) -> Counter[str]:
        packets, octets = dev_lstats_read(self.lo)
        sd, core = self.lo.machine.softnet.data.get(self.lo.machine.cpu), self.lo.core_stats
        return Counter(
            packets=packets, bytes=octets, tx_dropped=core.tx_dropped, rx_dropped=core.rx_dropped,
            processed=sd.processed if sd else 0, overflowed=sd.dropped if sd else 0, handled=self.handled,
            left=self.left, arrived=self.arrived, octets=self.octets,
        )  # fmt: skip


class Target:
    """lo, up, with somebody who listens to a protocol, and taps that come and go."""

    def __init__(self) -> None:
        self.linux = Linux(effects=False)
        self.machine, self.net = self.linux.machine, self.linux.init_net
        self.net.link_set("lo", up=True)
        self.lo = self.net.device("lo")
        self.features, self.changeable = self.lo.features, self.lo.hw_features
        self.tally, self.counts = Tally(self.lo), Counter[str]()
        self.sender, self.plain, self.vnet = Sock(), packet_create(self.net.net), packet_create(self.net.net)
        self.vnet.vnet_hdr = True
        for sock in (self.sender, self.plain, self.vnet):
            sock.sk_sndbuf = sock.sk_rcvbuf = _ROOM
        self.readers = self._readers()
        dev_add_pack(self.machine, PacketType(HANDLED, self._hear))
        self.tap = PacketType(ETH_P_ALL, self._watch)
        for chain in self.machine.softnet.ptype_base.values():
            for pt in chain:
                self._count(pt)

    # --- who takes packets ---

    def _readers(self) -> list[tuple[InetSock, Callable[[InetSock], object]]]:
        """Sockets of UDP and ping, and how they are read."""
        readers: list[tuple[InetSock, Callable[[InetSock], object]]] = []
        for family, anywhere in ((AF_INET, bytes(4)), (AF_INET6, bytes(16))):
            listener = udp_create(self.net.net, family)
            udp_bind(listener, anywhere, ECHO_PORT)
            readers += (listener, udp_recvmsg), (ping_create(self.net.net, family), ping_recvmsg)
        return readers

    def _hear(self, skb: SkBuff, dev: NetDevice) -> None:
        skb.tobytes()

    def _count(self, pt: PacketType) -> None:
        take = pt.func

        def counted(skb: SkBuff, dev: NetDevice) -> None:
            self.tally.handled += 1
            take(skb, dev)

        pt.func = counted

    def _watch(self, skb: SkBuff, dev: NetDevice) -> None:
        if skb.pkt_type == PACKET_OUTGOING and skb.skb_iif == 0:
            self.tally.left += 1
        else:
            self.tally.arrived += 1
            self.tally.octets += skb.len

    # --- packets in ---

    def pass_time(self, seconds: float) -> None:
        """Let fragments whose packet never came whole be forgotten, and their senders be told."""
        self.linux.advance(seconds)
        do_softirq(self.machine)
        if seconds > FORGOTTEN and self.net.net.frags:
            raise Broken(f"fragments are kept for ever: {[*self.net.net.frags]}")

    def feed(self, bent: Bent, chance: Random) -> None:
        """Send one, and look at what must hold.

        Raises:
            Broken: it does not.
        """
        self.pass_time(chance.choice((0, 1, 31, 61)) if chance.random() < 0.01 else 0)
        tapped, listens = chance.random() < 0.5, chance.random() < 0.2
        self._switch(chance)
        self.lo.features = bent.features
        packet_bind(self.vnet, self.lo.ifindex, ETH_P_ALL if listens else 0)
        if tapped:
            dev_add_pack(self.machine, self.tap)
        before = self.tally.accounts()
        try:
            outcome = getattr(self, f"_{bent.door}")(bent)
            do_softirq(self.machine)
        finally:
            dev_remove_pack(self.machine, self.tap)
        self.counts[f"{bent.door}: {outcome}"] += 1
        change = self.tally.accounts()
        change.subtract(before)
        problems = [*self._at_rest(), *self._books(bent, change, outcome, tapped=tapped, listens=listens)]
        if problems:
            raise Broken(f"{', '.join(problems)}\n  after {bent}\n  {dict(change)}, {outcome}")
        self._read()
        self._tell()

    def _switch(self, chance: Random) -> None:
        """What else may be so or otherwise."""
        self.linux.trace.on = chance.random() < 0.1
        self.machine.softnet.held = chance.random() < 0.2
        self.machine.softnet.netdev_max_backlog = 3 if chance.random() < 0.1 else 1000
        if chance.random() < (0.02 if self.lo.running else 0.2):
            self.net.link_set("lo", up=not self.lo.running)

    def _dev_queue_xmit(self, bent: Bent) -> str:
        skb = bent.skb()
        skb.dev = self.lo
        skb_set_owner_w(skb, self.sender)
        rc = dev_queue_xmit(skb)
        return f"-{errorcode[-rc]}" if rc < 0 else str(rc)

    def _netif_rx(self, bent: Bent) -> str:
        skb = bent.skb()
        skb.dev = self.lo
        return str(netif_rx(skb))

    def _netif_receive_skb(self, bent: Bent) -> str:
        skb = bent.skb()
        skb.dev = self.lo
        return str(netif_receive_skb(skb))

    def _packet_snd(self, bent: Bent) -> str:
        sock = self.plain if bent.vnet is None else self.vnet
        try:
            packet_snd(sock, (bent.vnet or b"") + bent.linear, self.lo.ifindex, bent.protocol)
        except KernelError as error:
            return f"-{errorcode[error.errno or 0]}"
        return "0"

    def _read(self) -> None:
        """Read what the packet socket has seen: the packets are told, or refused as documented."""
        while self.vnet.sk_receive_queue or self.vnet.sk_err:
            try:
                packet_recvmsg(self.vnet)
                self.counts["packet_recvmsg: 0"] += 1
            except KernelError as error:
                self.counts[f"packet_recvmsg: -{errorcode[error.errno or 0]}"] += 1
        for reader, read in self.readers:
            while reader.sk_receive_queue or reader.sk_err:
                try:
                    read(reader)
                    self.counts[f"{read.__name__}: 0"] += 1
                except KernelError as error:
                    self.counts[f"{read.__name__}: -{errorcode[error.errno or 0]}"] += 1
        for sock in (self.vnet, *(reader for reader, _ in self.readers)):
            if sock.rmem_alloc or sock.wmem_alloc:
                raise Broken(f"{sock.rmem_alloc}, {sock.wmem_alloc} bytes are on the account of a socket that was read")

    def _tell(self) -> None:
        if self.linux.trace.on:
            for record in self.linux.trace.ring:
                str(record)
            self.linux.trace.clear()

    # --- what must hold ---

    def _at_rest(self) -> list[str]:
        softnet = self.machine.softnet
        problems = []
        for cpu, sd in softnet.data.items():
            if sd.input_pkt_queue or sd.process_queue or sd.backlog_scheduled:
                problems.append(f"CPU {cpu} has packets left")
            if sd.recursion:
                problems.append(f"recursion is {sd.recursion}")
        if softnet.bh_disabled or softnet.running or softnet.pending:
            problems.append(f"bottom halves: {softnet.bh_disabled}, {softnet.running}, {softnet.pending}")
        for name, sock in (("sender", self.sender), ("plain", self.plain), ("vnet", self.vnet)):
            if sock.wmem_alloc:
                problems.append(f"{sock.wmem_alloc} bytes are still on the account of {name}")
        return problems

    def _books(self, bent: Bent, change: Counter[str], outcome: str, *, tapped: bool, listens: bool) -> list[str]:
        """Every packet was refused to its sender, or left; what left arrived or was dropped for want of room; what
        arrived was taken or dropped; and all of it was counted.
        """
        came_in = int(bent.door == "netif_receive_skb" or (bent.door, outcome) == ("netif_rx", "0"))
        sent = change["packets"] + change["overflowed"]
        books = {"what entered was received": change["processed"] == change["packets"] + came_in}
        if bent.door == "dev_queue_xmit":
            books["what was refused was counted, and only that"] = change["tx_dropped"] == (outcome != "0")
            books["what was not refused was sent"] = (outcome == "0") == (sent > 0)
        if tapped:
            books["what was sent was seen"] = bent.door == "netif_rx" or change["left"] == sent
        if _may_be_tagged(bent):  # half a tag is dropped without a word, and a whole one taken out before anybody looks
            books["no more was seen than received"] = change["arrived"] <= change["processed"]
        elif tapped:
            books["what was received was seen"] = change["arrived"] == change["processed"]
            books["its bytes were counted"] = came_in == 1 or change["octets"] == change["bytes"]
        elif not listens:
            dropped = change["rx_dropped"] - change["overflowed"] - (bent.door == "netif_rx" and not came_in)
            books["what was received was taken or dropped"] = change["handled"] + dropped == change["processed"]
        return [f"not so: {name}" for name, holds in books.items() if not holds]
