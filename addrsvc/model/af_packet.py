"""net/packet/af_packet.c: packet sockets, which send frames as they are, and see what devices send and receive.

SOCK_RAW only; no rings, no fanout, no filters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from errno import EAGAIN, EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS, ENODEV, ENXIO
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.dev import dev_get_by_index
from addrsvc.model.features import SKB_GSO_TCPV4, SKB_GSO_TCPV6
from addrsvc.model.flow_dissector import skb_probe_transport_header
from addrsvc.model.netdev_chain import register_netdevice_notifier
from addrsvc.model.notifier import NOTIFY_DONE, NotifierBlock
from addrsvc.model.receive import dev_add_pack, dev_remove_pack
from addrsvc.model.skbuff import (
    MAX_SKB_FRAGS,
    PAGE_ALLOC_COSTLY_ORDER,
    PAGE_SIZE,
    SkBuff,
    skb_dst_drop,
    skb_is_gso,
    skb_orphan,
)
from addrsvc.model.sock import sock_alloc_send_pskb, sock_queue_rcv_skb
from addrsvc.model.structs import Machine, Net, NetDevice, NetdevNotifierInfo, PacketSock, PacketType
from addrsvc.model.virtio_net import (
    VIRTIO_NET_HDR_F_NEEDS_CSUM,
    VirtioNetHdr,
    virtio_net_hdr_from_skb,
    virtio_net_hdr_set_proto,
    virtio_net_hdr_to_skb,
)
from addrsvc.model.xmit import dev_queue_xmit
from addrsvc.uapi import (
    ARPHRD_ETHER,
    CHECKSUM_PARTIAL,
    CHECKSUM_UNNECESSARY,
    ETH_P_8021Q,
    ETH_P_ALL,
    IFF_UP,
    NET_XMIT_CN,
    NETDEV_DOWN,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    PACKET_OUTGOING,
)

__all__ = [
    "PacketMsg", "SockaddrLl", "TpacketAuxdata", "packet_bind", "packet_create", "packet_init", "packet_notifier",
    "packet_rcv", "packet_recvmsg", "packet_release", "packet_snd", "packet_xmit",
]  # fmt: skip

TP_STATUS_USER: Final = 1
TP_STATUS_CSUMNOTREADY: Final = 1 << 3
TP_STATUS_VLAN_VALID: Final = 1 << 4
TP_STATUS_VLAN_TPID_VALID: Final = 1 << 6
TP_STATUS_CSUM_VALID: Final = 1 << 7
TP_STATUS_GSO_TCP: Final = 1 << 8
_VLAN_HLEN: Final = 4
_HH_DATA_MOD: Final = 16


@dataclass(frozen=True, slots=True)
class SockaddrLl:
    """struct sockaddr_ll: which device a packet was seen on, and what it is there."""

    sll_protocol: int = 0
    sll_ifindex: int = 0
    sll_hatype: int = 0
    sll_pkttype: int = 0
    sll_addr: bytes = b""


@dataclass(frozen=True, slots=True)
class TpacketAuxdata:
    """struct tpacket_auxdata: what the bytes of a packet do not tell."""

    tp_status: int
    tp_len: int
    tp_snaplen: int
    tp_mac: int
    tp_net: int
    tp_vlan_tci: int = 0
    tp_vlan_tpid: int = 0


@dataclass(frozen=True, slots=True)
class PacketMsg:
    """One packet as recvmsg(2) hands it out."""

    data: bytes
    name: SockaddrLl
    auxdata: TpacketAuxdata


# --- sockets ----------------------------------------------------------------------------------------------------------


def packet_create(net: Net) -> PacketSock:
    """Open a socket that sees nothing yet.

    Kernel: net/packet/af_packet.c, packet_create().
    """
    sk = PacketSock(net=net)
    net.packet_sklist.append(sk)
    return sk


def packet_release(sk: PacketSock) -> None:
    """Close a socket; what it was to read is lost.

    Kernel: net/packet/af_packet.c, packet_release().
    """
    _unregister_prot_hook(sk)
    if sk in sk.net.packet_sklist:
        sk.net.packet_sklist.remove(sk)
    sk.sk_receive_queue.clear()


def packet_bind(sk: PacketSock, ifindex: int, protocol: int) -> None:
    """See packets of `protocol` (ETH_P_*, 0 for none), on one device or, with 0, on all.

    Kernel: net/packet/af_packet.c, packet_bind(), packet_do_bind().

    Raises:
        KernelError: ENODEV, there is no such device.
    """
    dev = dev_get_by_index(sk.net, ifindex)
    if ifindex and dev is None:
        raise KernelError(ENODEV)
    _unregister_prot_hook(sk)
    sk.num, sk.ifindex = protocol, ifindex
    if not protocol:
        return
    if dev is None or dev.flags & IFF_UP:
        _register_prot_hook(sk, dev)
    else:
        sk.sk_err = ENETDOWN


def packet_recvmsg(sk: PacketSock) -> PacketMsg:
    """The oldest packet that was not read.

    Kernel: net/packet/af_packet.c, packet_recvmsg().

    Raises:
        KernelError: EAGAIN, there is none; EINVAL, no header can tell how it is to be cut: it is lost; ENETDOWN, the
            device has gone down since the last call.
    """
    if sk.sk_err:
        err, sk.sk_err = sk.sk_err, 0
        raise KernelError(err)
    if not sk.sk_receive_queue:
        raise KernelError(EAGAIN)
    skb = sk.sk_receive_queue.popleft()
    skb_orphan(skb)
    header = virtio_net_hdr_from_skb(skb).pack() if sk.vnet_hdr else b""
    assert isinstance(skb.cb, SockaddrLl)
    return PacketMsg(header + skb.tobytes(), skb.cb, _auxdata(skb))


def _register_prot_hook(sk: PacketSock, dev: NetDevice | None) -> None:
    def func(skb: SkBuff, dev: NetDevice) -> None:
        packet_rcv(sk, skb, dev)

    if sk.prot_hook is None:
        sk.prot_hook = PacketType(sk.num, func, dev, sk.net, sk, sk.ignore_outgoing)
        dev_add_pack(sk.net.machine, sk.prot_hook)


def _unregister_prot_hook(sk: PacketSock) -> None:
    if sk.prot_hook is not None:
        dev_remove_pack(sk.net.machine, sk.prot_hook)
        sk.prot_hook = None


def _dev_up(sk: PacketSock, dev: NetDevice) -> None:
    if sk.num:
        _register_prot_hook(sk, dev)


def _dev_down(sk: PacketSock, dev: NetDevice) -> None:
    if sk.prot_hook is not None:
        _unregister_prot_hook(sk)
        sk.sk_err = ENETDOWN


def _dev_unregister(sk: PacketSock, dev: NetDevice) -> None:
    _dev_down(sk, dev)
    sk.ifindex = -1


ON_NETDEV_EVENT: Final[Mapping[int, Callable[[PacketSock, NetDevice], None]]] = {
    NETDEV_UP: _dev_up,
    NETDEV_DOWN: _dev_down,
    NETDEV_UNREGISTER: _dev_unregister,
}


def packet_notifier(event: int, info: NetdevNotifierInfo) -> int:
    """Let the sockets of a device see while it is up, and tell them when it no longer is.

    Kernel: net/packet/af_packet.c, packet_notifier().
    """
    act = ON_NETDEV_EVENT.get(event)
    if act is not None:
        for sk in info.dev.net.packet_sklist:
            if sk.ifindex == info.dev.ifindex:
                act(sk, info.dev)
    return NOTIFY_DONE


def packet_init(machine: Machine) -> None:
    """Subscribe packet sockets to devices.

    Kernel: net/packet/af_packet.c, packet_init().
    """
    register_netdevice_notifier(machine, NotifierBlock(packet_notifier))


# --- seeing -----------------------------------------------------------------------------------------------------------


def packet_rcv(sk: PacketSock, skb: SkBuff, dev: NetDevice) -> None:
    """Queue a packet, link header first, for whoever reads the socket.

    Kernel: net/packet/af_packet.c, packet_rcv().
    """
    if dev.header_ops is not None:
        skb.data = skb.mac_header or 0
    elif skb.pkt_type == PACKET_OUTGOING:
        skb.data = skb.network_header or 0
    if sk.rmem_alloc >= sk.sk_rcvbuf:
        sk.drops += 1
        return
    source = dev.header_ops.parse(skb, dev) if dev.header_ops is not None else b""
    skb.cb = SockaddrLl(skb.protocol, dev.ifindex, dev.type, skb.pkt_type, source)
    skb_orphan(skb)
    sock_queue_rcv_skb(sk, skb)
    skb.dev = None
    skb_dst_drop(skb)
    sk.tp_packets += 1


def _auxdata(skb: SkBuff) -> TpacketAuxdata:
    status = TP_STATUS_USER
    if skb.ip_summed == CHECKSUM_PARTIAL:
        status |= TP_STATUS_CSUMNOTREADY
    elif skb.pkt_type != PACKET_OUTGOING and skb.ip_summed == CHECKSUM_UNNECESSARY:
        status |= TP_STATUS_CSUM_VALID
    if skb_is_gso(skb) and skb.shinfo.gso_type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6):
        status |= TP_STATUS_GSO_TCP
    if skb.vlan_tci is not None:
        status |= TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID
    tpid = skb.vlan_proto if skb.vlan_tci is not None else 0
    return TpacketAuxdata(status, skb.len, skb.len, 0, skb.network_offset, skb.vlan_tci or 0, tpid)


# --- sending ----------------------------------------------------------------------------------------------------------


def packet_snd(sk: PacketSock, data: bytes, ifindex: int, protocol: int) -> int:
    """Send one frame over a device: link header and all, behind a struct virtio_net_hdr where the socket has that.

    Kernel: net/packet/af_packet.c, packet_snd().

    Raises:
        KernelError: ENXIO, no such device; ENETDOWN, it is down; EINVAL, less than a link header, or a lying
            virtio_net_hdr; EMSGSIZE, more than the device takes; ENOBUFS, ENOMEM, it was dropped on the way.
    """
    dev = dev_get_by_index(sk.net, ifindex or sk.ifindex)
    if dev is None:
        raise KernelError(ENXIO)
    if not dev.flags & IFF_UP:
        raise KernelError(ENETDOWN)
    hdr, frame = _vnet_parse(sk, data)
    skb = _packet_alloc(sk, dev, hdr or VirtioNetHdr(), frame)
    try:
        _check_length(dev, skb, segmented=hdr is not None and hdr.gso_type != 0)
        skb.dev, skb.protocol = dev, protocol
        _parse_headers(skb)
        if hdr is not None:
            virtio_net_hdr_to_skb(skb, hdr)
            virtio_net_hdr_set_proto(skb, hdr)
    except KernelError:
        skb_orphan(skb)
        raise
    packet_xmit(skb)
    return len(data)


def _vnet_parse(sk: PacketSock, data: bytes) -> tuple[VirtioNetHdr | None, bytes]:
    """Kernel: net/packet/af_packet.c, packet_snd_vnet_parse(), __packet_snd_vnet_parse()."""
    if not sk.vnet_hdr:
        return None, data
    if len(data) < VirtioNetHdr.SIZE:
        raise KernelError(EINVAL)
    hdr, frame = VirtioNetHdr.unpack(data), data[VirtioNetHdr.SIZE :]
    checksum_end = hdr.csum_start + hdr.csum_offset + 2 & 0xFFFF
    if hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM and hdr.csum_start + hdr.csum_offset + 2 > hdr.hdr_len:
        hdr.hdr_len = checksum_end
    if hdr.hdr_len > len(frame):
        raise KernelError(EINVAL)
    return hdr, frame


def _packet_alloc(sk: PacketSock, dev: NetDevice, hdr: VirtioNetHdr, frame: bytes) -> SkBuff:
    """Kernel: net/packet/af_packet.c, packet_alloc_skb()."""
    length, hard = len(frame), dev.hard_header_len
    if not hdr.gso_type and length > dev.mtu + hard + _VLAN_HLEN:
        raise KernelError(EMSGSIZE)
    reserve = (hard + dev.needed_headroom) // _HH_DATA_MOD * _HH_DATA_MOD + _HH_DATA_MOD
    linear = max(hdr.hdr_len, min(length, hard))
    if reserve + dev.needed_tailroom + length < PAGE_SIZE or not linear:
        linear = length
    linear = max(linear, length - MAX_SKB_FRAGS * (PAGE_SIZE << PAGE_ALLOC_COSTLY_ORDER))
    skb = sock_alloc_send_pskb(sk, reserve, frame, linear, dev.needed_tailroom)
    skb.reset_network_header()
    _reserve_link_header(skb, hard)
    return skb


def _reserve_link_header(skb: SkBuff, length: int) -> None:
    """Let the frame begin where its link header would: the network header lies that far behind the beginning."""
    del skb.head[:length]
    skb.data -= length


def _check_length(dev: NetDevice, skb: SkBuff, *, segmented: bool) -> None:
    """Kernel: net/packet/af_packet.c, packet_snd(), packet_extra_vlan_len_allowed()."""
    if skb.len < dev.hard_header_len:
        raise KernelError(EINVAL)
    if segmented or skb.len <= dev.mtu + dev.hard_header_len:
        return
    if int.from_bytes(skb.head[skb.data + 12 : skb.data + 14]) != ETH_P_8021Q or dev.type != ARPHRD_ETHER:
        raise KernelError(EMSGSIZE)


def _parse_headers(skb: SkBuff) -> None:
    """Kernel: net/packet/af_packet.c, packet_parse_headers()."""
    if skb.protocol in (0, ETH_P_ALL):
        skb.reset_mac_header()
        if skb.dev is not None and skb.dev.header_ops is not None:
            skb.protocol = skb.dev.header_ops.parse_protocol(skb)
    skb_probe_transport_header(skb)


def packet_xmit(skb: SkBuff) -> None:
    """Hand a packet to its device.

    Kernel: net/packet/af_packet.c, packet_xmit(); include/linux/netdevice.h, net_xmit_errno().

    Raises:
        KernelError: it was dropped.
    """
    err = dev_queue_xmit(skb)
    if err > 0:
        err = 0 if err == NET_XMIT_CN else -ENOBUFS
    if err:
        raise KernelError(-err)
