"""include/linux/virtio_net.h: what a packet leaves to the device, as packet sockets say it in front of a packet."""

from dataclasses import dataclass
from errno import EINVAL
from struct import Struct
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.features import (
    SKB_GSO_DODGY,
    SKB_GSO_TCP_ECN,
    SKB_GSO_TCPV4,
    SKB_GSO_TCPV6,
    SKB_GSO_UDP,
    SKB_GSO_UDP_L4,
)
from addrsvc.model.flow_dissector import skb_flow_dissect_flow_keys_basic
from addrsvc.model.gso import GSO_BY_FRAGS
from addrsvc.model.skbuff import SkBuff, skb_is_gso, skb_partial_csum_set
from addrsvc.uapi import CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, ETH_P_IP, ETH_P_IPV6

__all__ = [
    "VIRTIO_NET_HDR_F_DATA_VALID", "VIRTIO_NET_HDR_F_NEEDS_CSUM", "VIRTIO_NET_HDR_GSO_ECN", "VIRTIO_NET_HDR_GSO_NONE",
    "VIRTIO_NET_HDR_GSO_TCPV4", "VIRTIO_NET_HDR_GSO_TCPV6", "VIRTIO_NET_HDR_GSO_UDP", "VIRTIO_NET_HDR_GSO_UDP_L4",
    "VirtioNetHdr", "virtio_net_hdr_from_skb", "virtio_net_hdr_set_proto", "virtio_net_hdr_to_skb",
]  # fmt: skip

VIRTIO_NET_HDR_F_NEEDS_CSUM: Final = 1
VIRTIO_NET_HDR_F_DATA_VALID: Final = 2
VIRTIO_NET_HDR_GSO_NONE: Final = 0
VIRTIO_NET_HDR_GSO_TCPV4: Final = 1
VIRTIO_NET_HDR_GSO_UDP: Final = 3
VIRTIO_NET_HDR_GSO_TCPV6: Final = 4
VIRTIO_NET_HDR_GSO_UDP_L4: Final = 5
VIRTIO_NET_HDR_GSO_ECN: Final = 0x80

_IPPROTO_TCP, _IPPROTO_UDP = 6, 17
_TCP_LEN, _UDP_LEN = 20, 8
_IPV4_LEN, _IPV6_LEN = 20, 40
_TCP_CHECK, _UDP_CHECK = 16, 6
_UDP_MAX_SEGMENTS: Final = 1 << 7
_LAYOUT: Final = Struct("<BBHHHH")


@dataclass(slots=True)
class VirtioNetHdr:
    """struct virtio_net_hdr, in the byte order of the host, which is taken to be little-endian."""

    flags: int = 0
    gso_type: int = VIRTIO_NET_HDR_GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    SIZE = _LAYOUT.size

    @classmethod
    def unpack(cls, data: bytes) -> "VirtioNetHdr":
        """The header at the beginning of `data`."""
        return cls(*_LAYOUT.unpack_from(data))

    def pack(self) -> bytes:
        """As it stands in front of a packet."""
        return _LAYOUT.pack(
            self.flags, self.gso_type, self.hdr_len, self.gso_size, self.csum_start, self.csum_offset
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of segmentation: what it is to the stack, and the headers that it has at least."""

    gso_type: int
    ip_proto: int
    thlen: int
    nhlen: int
    protocols: tuple[int, ...]


_KINDS: Final = {
    VIRTIO_NET_HDR_GSO_TCPV4: _Kind(SKB_GSO_TCPV4, _IPPROTO_TCP, _TCP_LEN, _IPV4_LEN, (ETH_P_IP,)),
    VIRTIO_NET_HDR_GSO_TCPV6: _Kind(SKB_GSO_TCPV6, _IPPROTO_TCP, _TCP_LEN, _IPV6_LEN, (ETH_P_IPV6,)),
    VIRTIO_NET_HDR_GSO_UDP: _Kind(SKB_GSO_UDP, _IPPROTO_UDP, _UDP_LEN, _IPV4_LEN, (ETH_P_IP, ETH_P_IPV6)),
    VIRTIO_NET_HDR_GSO_UDP_L4: _Kind(SKB_GSO_UDP_L4, _IPPROTO_UDP, _UDP_LEN, _IPV4_LEN, (ETH_P_IP, ETH_P_IPV6)),
}
_NO_KIND: Final = _Kind(0, 0, 0, _IPV4_LEN, ())


def virtio_net_hdr_set_proto(skb: SkBuff, hdr: VirtioNetHdr) -> None:
    """Let a packet without a protocol have the one that its kind of segmentation is about.

    Kernel: include/linux/virtio_net.h, virtio_net_hdr_set_proto().
    """
    kind = _KINDS.get(hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN)
    if not skb.protocol and kind is not None:
        skb.protocol = kind.protocols[0]


def virtio_net_hdr_to_skb(skb: SkBuff, hdr: VirtioNetHdr) -> None:
    """Heed what stands in front of a packet.

    Kernel: include/linux/virtio_net.h, virtio_net_hdr_to_skb().

    Raises:
        KernelError: EINVAL, it does not fit the packet.
    """
    kind = _kind(hdr)
    skb.reset_mac_header()
    if hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM:
        p_off = _leave_checksum(skb, hdr, kind)
    else:
        p_off = _find_payload(skb, hdr, kind) if kind.gso_type else 0
    if kind.gso_type:
        _leave_segmentation(skb, hdr, kind, p_off)


def _kind(hdr: VirtioNetHdr) -> _Kind:
    if hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE:
        return _NO_KIND
    kind = _KINDS.get(hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN)
    if kind is None or not hdr.gso_size:
        raise KernelError(EINVAL)
    return kind


def _leave_checksum(skb: SkBuff, hdr: VirtioNetHdr, kind: _Kind) -> int:
    """Leave the checksum to the device; where the payload begins."""
    needed = hdr.csum_start + max(kind.thlen, hdr.csum_offset + 2)
    if not skb.may_pull(needed) or not skb_partial_csum_set(skb, hdr.csum_start, hdr.csum_offset):
        raise KernelError(EINVAL)
    p_off = skb.transport_offset + kind.thlen
    if skb.transport_offset < kind.nhlen or not skb.may_pull(p_off):
        raise KernelError(EINVAL)
    return p_off


def _find_payload(skb: SkBuff, hdr: VirtioNetHdr, kind: _Kind) -> int:
    """Find the headers of a packet whose checksum nobody pointed at; where the payload begins."""
    keys = skb_flow_dissect_flow_keys_basic(skb)
    if keys is None and kind.gso_type == SKB_GSO_UDP and skb.protocol == ETH_P_IP:
        skb.protocol = ETH_P_IPV6
        keys = skb_flow_dissect_flow_keys_basic(skb)
    if keys is None or keys.ip_proto != kind.ip_proto or not skb.may_pull(keys.thoff + kind.thlen):
        raise KernelError(EINVAL)
    skb.transport_header = skb.data + keys.thoff
    return keys.thoff + kind.thlen


def _leave_segmentation(skb: SkBuff, hdr: VirtioNetHdr, kind: _Kind, p_off: int) -> None:
    """Leave the cutting to the device, unless there is nothing to cut."""
    gso_type, partial = kind.gso_type, skb.ip_summed == CHECKSUM_PARTIAL
    if hdr.gso_type & VIRTIO_NET_HDR_GSO_ECN:
        gso_type |= SKB_GSO_TCP_ECN
    _check_segmentation(skb, hdr, gso_type, p_off, partial=partial)
    if kind.gso_type == SKB_GSO_UDP:
        p_off -= kind.thlen
    if skb.len - p_off > hdr.gso_size:
        skb.shinfo.gso_size, skb.shinfo.gso_segs = hdr.gso_size, 0
        skb.shinfo.gso_type = gso_type | SKB_GSO_DODGY


def _check_segmentation(skb: SkBuff, hdr: VirtioNetHdr, gso_type: int, p_off: int, *, partial: bool) -> None:
    kind = gso_type & ~SKB_GSO_TCP_ECN
    wrong = hdr.gso_size == GSO_BY_FRAGS
    if kind == SKB_GSO_UDP_L4:
        wrong |= not partial or skb.csum_offset != _UDP_CHECK or gso_type != SKB_GSO_UDP_L4
        wrong |= skb.len - p_off > hdr.gso_size * _UDP_MAX_SEGMENTS
    elif kind in (SKB_GSO_TCPV4, SKB_GSO_TCPV6):
        wrong |= partial and skb.csum_offset != _TCP_CHECK
    if wrong:
        raise KernelError(EINVAL)


# What is told of a packet that is to be cut; other kinds cannot be told.
_TOLD: Final = (
    (SKB_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV4),
    (SKB_GSO_TCPV6, VIRTIO_NET_HDR_GSO_TCPV6),
    (SKB_GSO_UDP_L4, VIRTIO_NET_HDR_GSO_UDP_L4),
)


def virtio_net_hdr_from_skb(skb: SkBuff) -> VirtioNetHdr:
    """What is to stand in front of a packet.

    Kernel: include/linux/virtio_net.h, virtio_net_hdr_from_skb(), with has_data_valid and without vlan_hlen.

    Raises:
        KernelError: EINVAL, there is no word for how it is to be cut.
    """
    hdr = VirtioNetHdr()
    if skb_is_gso(skb):
        told = next((told for gso_type, told in _TOLD if skb.shinfo.gso_type & gso_type), None)
        if told is None:
            raise KernelError(EINVAL)
        hdr.hdr_len, hdr.gso_size = skb.headlen & 0xFFFF, skb.shinfo.gso_size
        hdr.gso_type = told | (VIRTIO_NET_HDR_GSO_ECN if skb.shinfo.gso_type & SKB_GSO_TCP_ECN else 0)
    if skb.ip_summed == CHECKSUM_PARTIAL:
        hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM
        hdr.csum_start, hdr.csum_offset = skb.checksum_start_offset & 0xFFFF, skb.csum_offset
    elif skb.ip_summed == CHECKSUM_UNNECESSARY:
        hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID
    return hdr
