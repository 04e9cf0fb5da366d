"""include/trace/events/net.h: the tracepoints that a packet passes, typed, and printed as the kernel prints them.

A tracepoint keeps what it saw, since the packet goes on changing.  Who passes one asks `Trace.recording` first: a
trace that is off costs nothing.
"""

from dataclasses import dataclass

from addrsvc.model.skbuff import SkBuff
from addrsvc.model.structs import NetDevice

__all__ = [
    "NetDevStartXmit", "NetDevTemplate", "NetDevXmit", "NetifRxExit", "NetifRxVerbose", "trace_net_dev_queue",
    "trace_net_dev_start_xmit", "trace_net_dev_xmit", "trace_netif_receive_skb", "trace_netif_receive_skb_entry",
    "trace_netif_receive_skb_exit", "trace_netif_rx", "trace_netif_rx_entry", "trace_netif_rx_exit",
]  # fmt: skip


_U16 = 0xFFFF
"""Tracepoints keep no more than 16 bits of gso_type."""


@dataclass(frozen=True, slots=True)
class NetDevTemplate:
    """net_dev_queue, netif_receive_skb, netif_rx: which packet, on which device, how long."""

    name: str
    dev: str
    skbaddr: int
    len: int

    def __str__(self) -> str:
        return f"{self.name}: dev={self.dev} skbaddr={self.skbaddr:016x} len={self.len}"


@dataclass(frozen=True, slots=True)
class NetDevStartXmit:
    """net_dev_start_xmit: the packet as the driver gets it."""

    dev: str
    queue_mapping: int
    skbaddr: int
    vlan_tagged: bool
    vlan_proto: int
    vlan_tci: int
    protocol: int
    ip_summed: int
    len: int
    data_len: int
    network_offset: int
    transport_offset_valid: bool
    transport_offset: int
    tx_flags: int
    gso_size: int
    gso_segs: int
    gso_type: int

    def __str__(self) -> str:
        return (
            f"net_dev_start_xmit: dev={self.dev} queue_mapping={self.queue_mapping} skbaddr={self.skbaddr:016x} "
            f"vlan_tagged={self.vlan_tagged:d} vlan_proto=0x{self.vlan_proto:04x} vlan_tci=0x{self.vlan_tci:04x} "
            f"protocol=0x{self.protocol:04x} ip_summed={self.ip_summed} len={self.len} data_len={self.data_len} "
            f"network_offset={self.network_offset} transport_offset_valid={self.transport_offset_valid:d} "
            f"transport_offset={self.transport_offset} tx_flags={self.tx_flags} gso_size={self.gso_size} "
            f"gso_segs={self.gso_segs} gso_type={self.gso_type:#x}"
        )


@dataclass(frozen=True, slots=True)
class NetDevXmit:
    """net_dev_xmit: what the driver answered."""

    dev: str
    skbaddr: int
    len: int
    rc: int

    def __str__(self) -> str:
        return f"net_dev_xmit: dev={self.dev} skbaddr={self.skbaddr:016x} len={self.len} rc={self.rc}"


@dataclass(frozen=True, slots=True)
class NetifRxVerbose:
    """netif_rx_entry, netif_receive_skb_entry: the packet as it arrives."""

    name: str
    dev: str
    napi_id: int
    queue_mapping: int
    skbaddr: int
    vlan_tagged: bool
    vlan_proto: int
    vlan_tci: int
    protocol: int
    ip_summed: int
    hash: int
    l4_hash: bool
    len: int
    data_len: int
    truesize: int
    mac_header_valid: bool
    mac_header: int
    nr_frags: int
    gso_size: int
    gso_type: int

    def __str__(self) -> str:
        return (
            f"{self.name}: dev={self.dev} napi_id={self.napi_id:#x} queue_mapping={self.queue_mapping} "
            f"skbaddr={self.skbaddr:016x} vlan_tagged={self.vlan_tagged:d} vlan_proto=0x{self.vlan_proto:04x} "
            f"vlan_tci=0x{self.vlan_tci:04x} protocol=0x{self.protocol:04x} ip_summed={self.ip_summed} "
            f"hash=0x{self.hash:08x} l4_hash={self.l4_hash:d} len={self.len} data_len={self.data_len} "
            f"truesize={self.truesize} mac_header_valid={self.mac_header_valid:d} mac_header={self.mac_header} "
            f"nr_frags={self.nr_frags} gso_size={self.gso_size} gso_type={self.gso_type:#x}"
        )


@dataclass(frozen=True, slots=True)
class NetifRxExit:
    """netif_rx_exit, netif_receive_skb_exit: what became of it."""

    name: str
    ret: int

    def __str__(self) -> str:
        return f"{self.name}: ret={self.ret}"


def _skbaddr(skb: SkBuff) -> int:
    return id(skb) & 0xFFFFFFFFFFFFFFFF


def _vlan(skb: SkBuff) -> tuple[bool, int, int]:
    tagged = skb.vlan_tci is not None
    return tagged, skb.vlan_proto if tagged else 0, skb.vlan_tci or 0


def _template(name: str, skb: SkBuff, dev: NetDevice) -> None:
    dev.machine.trace.record(NetDevTemplate(name, dev.name, _skbaddr(skb), skb.len))


def trace_net_dev_queue(skb: SkBuff, dev: NetDevice) -> None:
    """Kernel: include/trace/events/net.h, net_dev_queue."""
    _template("net_dev_queue", skb, dev)


def trace_netif_rx(skb: SkBuff, dev: NetDevice) -> None:
    """Kernel: include/trace/events/net.h, netif_rx."""
    _template("netif_rx", skb, dev)


def trace_netif_receive_skb(skb: SkBuff, dev: NetDevice) -> None:
    """Kernel: include/trace/events/net.h, netif_receive_skb."""
    _template("netif_receive_skb", skb, dev)


def trace_net_dev_start_xmit(skb: SkBuff, dev: NetDevice) -> None:
    """Kernel: include/trace/events/net.h, net_dev_start_xmit."""
    tagged, vlan_proto, vlan_tci = _vlan(skb)
    shinfo = skb.shinfo
    dev.machine.trace.record(
        NetDevStartXmit(
            dev.name, skb.queue_mapping, _skbaddr(skb), tagged, vlan_proto, vlan_tci, skb.protocol, skb.ip_summed,
            skb.len, skb.data_len, skb.network_offset, skb.transport_header is not None,
            skb.transport_offset if skb.transport_header is not None else 0, shinfo.tx_flags, shinfo.gso_size,
            shinfo.gso_segs, shinfo.gso_type & _U16,
        )
    )  # fmt: skip


def trace_net_dev_xmit(skb: SkBuff, dev: NetDevice, rc: int, length: int) -> None:
    """Kernel: include/trace/events/net.h, net_dev_xmit."""
    dev.machine.trace.record(NetDevXmit(dev.name, _skbaddr(skb), length, rc))


def _verbose(name: str, skb: SkBuff, dev: NetDevice) -> None:
    tagged, vlan_proto, vlan_tci = _vlan(skb)
    shinfo, mac = skb.shinfo, skb.mac_header
    dev.machine.trace.record(
        NetifRxVerbose(
            name, dev.name, 0, skb.queue_mapping, _skbaddr(skb), tagged, vlan_proto, vlan_tci, skb.protocol,
            skb.ip_summed, skb.hash, skb.l4_hash, skb.len, skb.data_len, skb.truesize, mac is not None,
            mac - skb.data if mac is not None else 0, len(shinfo.frags), shinfo.gso_size, shinfo.gso_type & _U16,
        )
    )  # fmt: skip


def trace_netif_rx_entry(skb: SkBuff, dev: NetDevice) -> None:
    """Kernel: include/trace/events/net.h, netif_rx_entry."""
    _verbose("netif_rx_entry", skb, dev)


def trace_netif_receive_skb_entry(skb: SkBuff, dev: NetDevice) -> None:
    """Kernel: include/trace/events/net.h, netif_receive_skb_entry."""
    _verbose("netif_receive_skb_entry", skb, dev)


def trace_netif_rx_exit(dev: NetDevice, ret: int) -> None:
    """Kernel: include/trace/events/net.h, netif_rx_exit."""
    dev.machine.trace.record(NetifRxExit("netif_rx_exit", ret))


def trace_netif_receive_skb_exit(dev: NetDevice, ret: int) -> None:
    """Kernel: include/trace/events/net.h, netif_receive_skb_exit."""
    dev.machine.trace.record(NetifRxExit("netif_receive_skb_exit", ret))
