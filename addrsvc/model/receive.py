"""net/core/dev.c, packet half, on the way in: from netif_rx() through the backlog to taps and protocol handlers.

What arrives waits in the backlog of a CPU until bottom halves run there.  They run when the last local_bh_enable() is
reached, as in the kernel, or when somebody calls do_softirq(): time and CPUs are the caller's.
"""

from typing import Final

from addrsvc.model.skbuff import VLAN_HLEN, SkBuff, kfree_skb, skb_clone
from addrsvc.model.structs import Machine, NetDevice, PacketType, Softnet, SoftnetData
from addrsvc.model.trace_net import (
    trace_netif_receive_skb,
    trace_netif_receive_skb_entry,
    trace_netif_receive_skb_exit,
    trace_netif_rx,
    trace_netif_rx_entry,
    trace_netif_rx_exit,
)
from addrsvc.uapi import (
    ETH_ALEN,
    ETH_P_802_2,
    ETH_P_802_3,
    ETH_P_802_3_MIN,
    ETH_P_8021AD,
    ETH_P_8021Q,
    ETH_P_ALL,
    NET_RX_DROP,
    NET_RX_SUCCESS,
    PACKET_OTHERHOST,
)

__all__ = [
    "dev_add_pack", "dev_remove_pack", "do_softirq", "local_bh_disable", "local_bh_enable",
    "netif_receive_skb", "netif_rx", "process_backlog", "softnet_data",
]  # fmt: skip


_NO_DEVICE: Final = "a packet that arrives has a device"


# --- bottom halves --------------------------------------------------------------------------------------------------


def softnet_data(machine: Machine) -> SoftnetData:
    """What the CPU that runs keeps of packets.

    Kernel: net/core/dev.c, softnet_data.
    """
    data = machine.softnet.data
    try:
        return data[machine.cpu]
    except KeyError:
        return data.setdefault(machine.cpu, SoftnetData())


def local_bh_disable(machine: Machine) -> None:
    """Hold bottom halves back.

    Kernel: include/linux/bottom_half.h, local_bh_disable().
    """
    machine.softnet.bh_disabled += 1


def local_bh_enable(machine: Machine) -> None:
    """Let bottom halves run, if nobody else holds them back.

    Kernel: kernel/softirq.c, local_bh_enable().
    Differs: a caller who set `held` runs them himself.
    """
    machine.softnet.bh_disabled -= 1
    if not machine.softnet.bh_disabled and machine.softnet.pending and not machine.softnet.held:
        do_softirq(machine)


def do_softirq(machine: Machine) -> None:
    """Run what waits, round after round, until nothing is left.

    Kernel: kernel/softirq.c, do_softirq(), __do_softirq().
    Differs: it does not hand over to ksoftirqd after some rounds; within a bottom half it does nothing.
    """
    softnet = machine.softnet
    if softnet.running or softnet.bh_disabled:
        return
    softnet.running = True
    softnet.bh_disabled += 1
    try:
        while softnet.pending:
            softnet.pending = False
            _net_rx_action(machine)
    finally:
        softnet.bh_disabled -= 1
        softnet.running = False


def _net_rx_action(machine: Machine) -> None:
    """Poll the backlog of every CPU once, each within a budget of its own; what has more takes another round.

    Kernel: net/core/dev.c, net_rx_action().
    """
    softnet, home = machine.softnet, machine.cpu
    for cpu in sorted(softnet.data):
        machine.cpu, sd = cpu, softnet.data[cpu]
        if sd.backlog_scheduled:
            _napi_poll(softnet, sd)
    machine.cpu = home


def _napi_poll(softnet: Softnet, sd: SoftnetData) -> None:
    """Poll one backlog; if it used its weight, there is another round.

    Kernel: net/core/dev.c, napi_poll(), and how net_rx_action() goes on behind it.
    """
    weight, sd.weight = sd.weight or softnet.dev_rx_weight, softnet.dev_rx_weight
    work = process_backlog(sd, weight)
    if work >= weight:
        softnet.pending = True
    if work >= softnet.netdev_budget:
        sd.time_squeeze += 1


def process_backlog(sd: SoftnetData, quota: int) -> int:
    """Receive up to `quota` packets of one CPU's backlog; how many it was.

    Kernel: net/core/dev.c, process_backlog().
    """
    work = 0
    while True:
        while sd.process_queue:
            skb = sd.process_queue.popleft()
            _receive_skb_core(skb)
            work += 1
            if work >= quota:
                return work
        if not sd.input_pkt_queue:
            sd.backlog_scheduled = False
            return work
        sd.process_queue, sd.input_pkt_queue = sd.input_pkt_queue, sd.process_queue


# --- arriving -------------------------------------------------------------------------------------------------------


def netif_rx(skb: SkBuff) -> int:
    """Queue a packet that a driver has received: NET_RX_SUCCESS, or NET_RX_DROP where there was no room.

    Kernel: net/core/dev.c, netif_rx(), __netif_rx().
    """
    dev = skb.dev
    assert dev is not None, _NO_DEVICE
    machine = dev.machine
    tracing = machine.trace.recording
    local_bh_disable(machine)
    try:
        if tracing:
            trace_netif_rx_entry(skb, dev)
        ret = netif_rx_internal(skb, dev)
        if tracing:
            trace_netif_rx_exit(dev, ret)
    finally:
        local_bh_enable(machine)
    return ret


def netif_rx_internal(skb: SkBuff, dev: NetDevice) -> int:
    """Queue a packet on the CPU that runs.

    Kernel: net/core/dev.c, netif_rx_internal().
    Differs: packets are not spread over CPUs (RPS is off, as is the default).
    """
    if dev.machine.trace.recording:
        trace_netif_rx(skb, dev)
    return _enqueue_to_backlog(skb, dev)


def _enqueue_to_backlog(skb: SkBuff, dev: NetDevice) -> int:
    """Kernel: net/core/dev.c, enqueue_to_backlog(); flow limits are off."""
    if not dev.running:
        return _drop(skb, dev)
    sd = softnet_data(dev.machine)
    queue = sd.input_pkt_queue
    if len(queue) > dev.machine.softnet.netdev_max_backlog:
        sd.dropped += 1
        return _drop(skb, dev)
    if not queue and not sd.backlog_scheduled:
        sd.backlog_scheduled = True
        dev.machine.softnet.pending = True
    queue.append(skb)
    return NET_RX_SUCCESS


def _drop(skb: SkBuff, dev: NetDevice) -> int:
    """Give up a packet that arrived, and count it (dev_core_stats_rx_dropped_inc())."""
    dev.core_stats.rx_dropped += 1
    kfree_skb(skb)
    return NET_RX_DROP


def netif_receive_skb(skb: SkBuff) -> int:
    """Receive a packet at once, without a queue.

    Kernel: net/core/dev.c, netif_receive_skb().
    """
    dev = skb.dev
    assert dev is not None, _NO_DEVICE
    tracing = dev.machine.trace.recording
    if tracing:
        trace_netif_receive_skb_entry(skb, dev)
    ret = _receive_skb_core(skb)
    if tracing:
        trace_netif_receive_skb_exit(dev, ret)
    return ret


def _receive_skb_core(skb: SkBuff) -> int:
    """Show a packet to the taps, then give it to its protocol; nobody's packet is dropped.

    Kernel: net/core/dev.c, __netif_receive_skb_core().
    Differs: no VLAN devices, no bridges, no ingress classification: there are no such devices here.
    """
    dev = skb.dev
    assert dev is not None, _NO_DEVICE
    machine = dev.machine
    if machine.trace.recording:
        trace_netif_receive_skb(skb, dev)
    skb.reset_network_header()
    if skb.transport_header is None:
        skb.reset_transport_header()
    skb.reset_mac_len()
    skb.skb_iif = dev.ifindex
    softnet_data(machine).processed += 1
    if skb.protocol in _VLAN_TYPES and not skb_vlan_untag(skb):
        return NET_RX_DROP
    pt_prev = None
    for pt in machine.softnet.ptype_all:
        if pt.dev in (None, dev) and pt.net in (None, dev.net):
            if pt_prev is not None:
                pt_prev.func(skb_clone(skb), dev)
            pt_prev = pt
    if skb.vlan_tci is not None:
        if pt_prev is not None:
            pt_prev.func(skb_clone(skb), dev)
            pt_prev = None
        if not _pass_tags(skb):
            return NET_RX_DROP
    for pt in machine.softnet.ptype_base.get(skb.protocol, ()):
        if pt.dev in (None, dev) and pt.net in (None, dev.net):
            if pt_prev is not None:
                pt_prev.func(skb_clone(skb), dev)
            pt_prev = pt
    if pt_prev is None:
        return _drop(skb, dev)
    pt_prev.func(skb, dev)
    return NET_RX_SUCCESS


# --- VLAN tags --------------------------------------------------------------------------------------------------------

_VLAN_TYPES: Final = (ETH_P_8021Q, ETH_P_8021AD)
_VLAN_VID_MASK: Final = 0x0FFF
_MACS: Final = 2 * ETH_ALEN


def skb_vlan_untag(skb: SkBuff) -> bool:
    """Take the outermost tag out of a packet and keep it beside; False if it is not whole.

    Kernel: net/core/skbuff.c, skb_vlan_untag(), skb_reorder_vlan_header(); include/linux/if_vlan.h,
        vlan_set_encap_proto().
    """
    if not skb.may_pull(VLAN_HLEN + 2):
        return False
    tag = skb.copy_bits(0, VLAN_HLEN + 2)
    protocol = int.from_bytes(tag[2:4])
    skb.vlan_proto, skb.vlan_tci = skb.protocol, int.from_bytes(tag[:2])
    if protocol < ETH_P_802_3_MIN:
        protocol = ETH_P_802_3 if tag[4:] == b"\xff\xff" else ETH_P_802_2
    skb.protocol = protocol
    mac = skb.mac_header or 0
    skb.head[mac + VLAN_HLEN : mac + VLAN_HLEN + _MACS] = skb.head[mac : mac + _MACS]
    skb.mac_header = mac + VLAN_HLEN
    skb.data += VLAN_HLEN
    skb.reset_network_header()
    skb.reset_mac_len()
    return True


def _pass_tags(skb: SkBuff) -> bool:
    """A packet of a VLAN that has no device is another host's; False if a further tag is not whole.

    Kernel: net/core/dev.c, __netif_receive_skb_core(), from check_vlan_id on.
    """
    while not (skb.vlan_tci or 0) & _VLAN_VID_MASK and skb.protocol in _VLAN_TYPES:
        if not skb_vlan_untag(skb):
            return False
    if (skb.vlan_tci or 0) & _VLAN_VID_MASK:
        skb.pkt_type = PACKET_OTHERHOST
    skb.vlan_tci = None
    return True


# --- who wants packets ----------------------------------------------------------------------------------------------


def dev_add_pack(machine: Machine, pt: PacketType) -> None:
    """Give somebody the packets of a protocol, or a look at all.

    Kernel: net/core/dev.c, dev_add_pack(): the newest comes first, and those of one device behind the others.
    """
    softnet = machine.softnet
    chain = softnet.ptype_all if pt.type == ETH_P_ALL else softnet.ptype_base.setdefault(pt.type, [])
    chain.insert(0 if pt.dev is None else sum(other.dev is None for other in chain), pt)


def dev_remove_pack(machine: Machine, pt: PacketType) -> None:
    """Give them no longer; not to have had them is no error.

    Kernel: net/core/dev.c, dev_remove_pack().
    """
    softnet = machine.softnet
    chain = softnet.ptype_all if pt.type == ETH_P_ALL else softnet.ptype_base.get(pt.type, [])
    if pt in chain:
        chain.remove(pt)
