"""struct sk_buff: the packet on its way, as far as a loopback device's path looks at it.

Kernel: include/linux/skbuff.h, net/core/skbuff.c.  One bytearray holds everything from the buffer's start to the tail
of the linear part; `data` is where the current layer begins.  Fragments hold what is not linear.  References, clones
that share data and page pools are left out: a clone is a copy of the structure whose bytes are shared until written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from addrsvc.uapi import (
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    CHECKSUM_UNNECESSARY,
    ETH_HLEN,
    ETH_P_8021AD,
    ETH_P_8021Q,
    PACKET_HOST,
)

if TYPE_CHECKING:
    from addrsvc.model.sock import Sock
    from addrsvc.model.structs import NetDevice

__all__ = [
    "SkBuff", "SkbSharedInfo", "alloc_skb", "alloc_skb_with_frags", "eth_type_vlan", "kfree_skb", "skb_clone",
    "skb_dst_drop", "skb_dst_force", "skb_has_frag_list", "skb_is_gso", "skb_network_protocol", "skb_orphan",
    "skb_partial_csum_set", "skb_truesize",
]  # fmt: skip

PAGE_SIZE: Final = 4096
PAGE_ALLOC_COSTLY_ORDER: Final = 3
MAX_SKB_FRAGS: Final = 17
_SMALL_HEAD: Final = 576
"""Bytes of a head from the cache for small ones (SKB_SMALL_HEAD_CACHE_SIZE)."""
_SHARED_INFO: Final = 320
_SK_BUFF: Final = 256
_CACHE_LINE: Final = 64
VLAN_HLEN: Final = 4
_U16_MAX: Final = 0xFFFF


@dataclass(slots=True, eq=False)
class SkbSharedInfo:
    """struct skb_shared_info: what the clones of a packet have in common.

    Attributes:
        frags: the pages behind the linear part.
        frag_list: whole packets behind this one, each a segment of its own.
        gso_size: bytes of payload in each segment to be; 0 for a packet that is one segment.
        gso_type: SKB_GSO_*.
    """

    frags: list[bytes] = field(default_factory=list)
    frag_list: list[SkBuff] = field(default_factory=list)
    gso_size: int = 0
    gso_segs: int = 0
    gso_type: int = 0
    tx_flags: int = 0


@dataclass(slots=True, eq=False, repr=False)
class SkBuff:
    """struct sk_buff.

    Attributes:
        head: the bytes of the linear part with the room in front of it.
        data: offset in `head` at which the current layer begins.
        mac_header, network_header, transport_header: offsets in `head`, None while not set.
        csum_start, csum_offset: with CHECKSUM_PARTIAL, where in `head` summing begins and how far behind that the
            sum goes.
        dst: a route is held (skb_dst()); `dst_noref` while it is only borrowed.
        sk: whose packet it is; `destructor` is told when it no longer is.
        tstamp: nanoseconds, 0 for none.
        cb: what the layer that has the packet keeps with it.
        nexthdr, nexthdr_at: of IPv6, the header that is next, and where in `head` its number stands (IP6CB()->nhoff).
    """

    head: bytearray = field(default_factory=bytearray)
    data: int = 0
    dev: NetDevice | None = None
    protocol: int = 0
    pkt_type: int = PACKET_HOST
    ip_summed: int = CHECKSUM_NONE
    csum: int = 0
    csum_start: int = 0
    csum_offset: int = 0
    csum_level: int = 0
    mac_header: int | None = None
    network_header: int | None = None
    transport_header: int | None = None
    inner_network_header: int | None = None
    inner_transport_header: int | None = None
    encapsulation: bool = False
    mac_len: int = 0
    skb_iif: int = 0
    hash: int = 0
    l4_hash: bool = False
    queue_mapping: int = 0
    priority: int = 0
    mark: int = 0
    vlan_tci: int | None = None
    vlan_proto: int = 0
    dst: object = None
    dst_noref: bool = False
    sk: Sock | None = None
    destructor: Callable[[SkBuff], None] | None = None
    tstamp: int = 0
    truesize: int = 0
    cb: object = None
    nexthdr: int = 0
    nexthdr_at: int = 0
    shinfo: SkbSharedInfo = field(default_factory=SkbSharedInfo)

    # --- lengths ---

    @property
    def headlen(self) -> int:
        """Bytes of the linear part (skb_headlen())."""
        return len(self.head) - self.data

    @property
    def data_len(self) -> int:
        """Bytes that are not linear."""
        shinfo = self.shinfo
        return sum(map(len, shinfo.frags)) + sum(skb.len for skb in shinfo.frag_list)

    @property
    def len(self) -> int:
        """Bytes in all."""
        shinfo = self.shinfo
        if shinfo.frags or shinfo.frag_list:
            return len(self.head) - self.data + self.data_len
        return len(self.head) - self.data

    def tobytes(self) -> bytes:
        """All bytes from the current layer on, linear or not."""
        shinfo = self.shinfo
        linear = bytes(memoryview(self.head)[self.data :])
        if not shinfo.frags and not shinfo.frag_list:
            return linear
        return b"".join((linear, *shinfo.frags, *(skb.tobytes() for skb in shinfo.frag_list)))

    # --- moving the layer ---

    def pull(self, length: int) -> bool:
        """Leave the current layer's first `length` bytes behind; False, and nothing done, if they are not linear.

        Kernel: net/core/skbuff.c, skb_pull(); include/linux/skbuff.h, pskb_may_pull().
        """
        if length > self.headlen and not self.may_pull(length):
            return False
        self.data += length
        return True

    def may_pull(self, length: int) -> bool:
        """Make the first `length` bytes linear.  False if there are not that many.

        Kernel: include/linux/skbuff.h, pskb_may_pull(); net/core/skbuff.c, __pskb_pull_tail().
        """
        if length <= self.headlen:
            return True
        if length > self.len:
            return False
        self._pull_tail(length - self.headlen)
        return True

    def _pull_tail(self, length: int) -> None:
        """Move that many bytes from behind the linear part into it; what is not moved stays where it is.

        Kernel: net/core/skbuff.c, __pskb_pull_tail().
        """
        frags = self.shinfo.frags
        while length and frags:
            part = frags[0]
            self.head += part[:length]
            frags[:1] = [part[length:]] if length < len(part) else []
            length -= min(length, len(part))
        if length:
            self.linearize()

    def push(self, header: bytes) -> None:
        """Put a header in front of the current layer, and begin there.

        Kernel: net/core/skbuff.c, skb_push().
        Differs: room that is missing is made.
        """
        room = self.data - len(header)
        if room < 0:
            self._make_room(-room)
            room = 0
        self.head[room : self.data] = header
        self.data = room

    def _make_room(self, length: int) -> None:
        """Kernel: net/core/skbuff.c, pskb_expand_head()."""
        self.head[:0] = bytes(length)
        self.data += length
        self.csum_start += length
        for name in ("mac_header", "network_header", "transport_header", "inner_network_header"):
            offset = getattr(self, name)
            if offset is not None:
                setattr(self, name, offset + length)

    def trim(self, length: int) -> None:
        """Cut the packet to `length` bytes.

        Kernel: net/core/skbuff.c, pskb_trim().
        """
        surplus = self.len - length
        if surplus <= 0:
            return
        frags = self.shinfo.frags
        if self.shinfo.frag_list:
            self.linearize()
        while surplus and frags:
            part = frags.pop()
            if surplus < len(part):
                frags.append(part[:-surplus])
            surplus -= min(surplus, len(part))
        if surplus:
            del self.head[-surplus:]

    def copy_bits(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` of the current layer on, linear or not.

        Kernel: net/core/skbuff.c, skb_copy_bits(); include/linux/skbuff.h, skb_header_pointer().
        """
        start = self.data + offset
        if start + length <= len(self.head):
            return bytes(self.head[start : start + length])
        return self.tobytes()[offset : offset + length]

    def linearize(self) -> None:
        """Move everything into the linear part.

        Kernel: include/linux/skbuff.h, skb_linearize().
        """
        shinfo = self.shinfo
        for part in shinfo.frags:
            self.head += part
        for skb in shinfo.frag_list:
            self.head += skb.tobytes()
        shinfo.frags, shinfo.frag_list = [], []

    # --- where headers are ---

    def reset_mac_header(self) -> None:
        """The link layer's header is here."""
        self.mac_header = self.data

    def reset_network_header(self) -> None:
        """The network layer's header is here."""
        self.network_header = self.data

    def reset_transport_header(self) -> None:
        """The transport layer's header is here."""
        self.transport_header = self.data

    def reset_mac_len(self) -> None:
        """Remember how long the link layer's header is.

        Kernel: include/linux/skbuff.h, skb_reset_mac_len().
        """
        self.mac_len = (self.network_header or 0) - (self.mac_header or 0) & _U16_MAX

    @property
    def network_offset(self) -> int:
        """Where the network layer's header is, counted from the current layer."""
        return (self.network_header or 0) - self.data

    @property
    def transport_offset(self) -> int:
        """Where the transport layer's header is, counted from the current layer."""
        return (self.transport_header or 0) - self.data

    @property
    def csum_is_right(self) -> bool:
        """Whether the checksum need not be looked at: somebody has, or it was left to a device and never computed.

        Kernel: include/linux/skbuff.h, skb_csum_unnecessary().
        """
        if self.ip_summed == CHECKSUM_PARTIAL:
            return self.csum_start >= self.data
        return self.ip_summed == CHECKSUM_UNNECESSARY

    @property
    def checksum_start_offset(self) -> int:
        """Where summing begins, counted from the current layer (skb_checksum_start_offset())."""
        return self.csum_start - self.data


def skb_truesize(size: int) -> int:
    """What the structures around a linear part of `size` bytes take, as allocators round it.

    Kernel: net/core/skbuff.c, kmalloc_reserve(); include/linux/skbuff.h, SKB_TRUESIZE().
    """
    wanted = -(-size // _CACHE_LINE) * _CACHE_LINE + _SHARED_INFO
    return _SK_BUFF + (_SMALL_HEAD if wanted <= _SMALL_HEAD else 1 << (wanted - 1).bit_length())


def alloc_skb(headroom: int, linear: bytes, tailroom: int = 0) -> SkBuff:
    """A packet of these bytes, with room in front of them.

    Kernel: include/linux/skbuff.h, alloc_skb(), skb_reserve(), skb_put_data().
    """
    return SkBuff(
        head=bytearray(headroom) + linear,
        data=headroom,
        truesize=skb_truesize(headroom + len(linear) + tailroom),
    )


def alloc_skb_with_frags(headroom: int, linear: bytes, rest: bytes, order: int, tailroom: int = 0) -> SkBuff:
    """A packet whose linear part is followed by pages, in pieces of up to 2**order of them.

    Kernel: net/core/skbuff.c, alloc_skb_with_frags().
    """
    skb = alloc_skb(headroom, linear, tailroom)
    at = 0
    while at < len(rest):
        left = -(-(len(rest) - at) // PAGE_SIZE) * PAGE_SIZE
        while order and left < PAGE_SIZE << order:
            order -= 1
        skb.shinfo.frags.append(rest[at : at + (PAGE_SIZE << order)])
        skb.truesize += PAGE_SIZE << order
        at += PAGE_SIZE << order
    return skb


def skb_partial_csum_set(skb: SkBuff, start: int, off: int) -> bool:
    """Leave a checksum to the device: the sum from `start` on, `off` bytes behind it.  False if there is no room.

    Kernel: net/core/skbuff.c, skb_partial_csum_set().
    """
    csum_start = skb.data + start
    if csum_start >= _U16_MAX or start + off + 2 > skb.headlen:
        return False
    skb.ip_summed = CHECKSUM_PARTIAL
    skb.csum_start, skb.csum_offset = csum_start, off
    skb.transport_header = csum_start
    return True


def eth_type_vlan(protocol: int) -> bool:
    """Whether a VLAN tag follows.

    Kernel: include/linux/if_vlan.h, eth_type_vlan().
    """
    return protocol in (ETH_P_8021Q, ETH_P_8021AD)


def skb_network_protocol(skb: SkBuff) -> tuple[int, int]:
    """The protocol behind the VLAN tags that stand in a packet, and where it begins; 0 if that cannot be told.

    Kernel: net/core/gso.c, skb_network_protocol(); include/linux/if_vlan.h, vlan_get_protocol_and_depth().
    """
    protocol, depth = skb.protocol, ETH_HLEN
    while eth_type_vlan(protocol):
        tag = skb.copy_bits((skb.mac_header or 0) - skb.data + depth, VLAN_HLEN)
        if len(tag) < VLAN_HLEN:
            return 0, 0
        protocol, depth = int.from_bytes(tag[2:]), depth + VLAN_HLEN
    return protocol, depth


def skb_is_gso(skb: SkBuff) -> bool:
    """Whether the packet stands for several.

    Kernel: include/linux/skbuff.h, skb_is_gso().
    """
    return bool(skb.shinfo.gso_size)


def skb_has_frag_list(skb: SkBuff) -> bool:
    """Whether whole packets hang behind this one.

    Kernel: include/linux/skbuff.h, skb_has_frag_list().
    """
    return bool(skb.shinfo.frag_list)


def skb_orphan(skb: SkBuff) -> None:
    """Let the owner know that the packet has left it.

    Kernel: include/linux/skbuff.h, skb_orphan().
    """
    if skb.destructor is not None:
        skb.destructor(skb)
        skb.destructor = None
    skb.sk = None


def kfree_skb(skb: SkBuff) -> None:
    """Give a packet up: it leaves its owner's account, and its route.

    Kernel: net/core/skbuff.c, kfree_skb(), consume_skb(), skb_release_head_state().
    """
    skb_orphan(skb)
    skb_dst_drop(skb)


def skb_dst_force(skb: SkBuff) -> bool:
    """Hold the route instead of borrowing it.  Whether there is one.

    Kernel: include/net/dst.h, skb_dst_force().
    """
    skb.dst_noref = False
    return skb.dst is not None


def skb_dst_drop(skb: SkBuff) -> None:
    """Let go of the route.

    Kernel: include/net/dst.h, skb_dst_drop().
    """
    skb.dst, skb.dst_noref = None, False


def skb_clone(skb: SkBuff) -> SkBuff:
    """Another packet with the same bytes and no owner.

    Kernel: net/core/skbuff.c, skb_clone().
    Differs: the bytes are copied, so that either may be written to.
    """
    twin = SkBuff(*_fields(skb))
    twin.head, twin.sk, twin.destructor = bytearray(skb.head), None, None
    shinfo = skb.shinfo
    twin.shinfo = SkbSharedInfo(
        shinfo.frags.copy(), [skb_clone(part) for part in shinfo.frag_list],
        shinfo.gso_size, shinfo.gso_segs, shinfo.gso_type, shinfo.tx_flags,
    )  # fmt: skip
    return twin


_fields: Final = attrgetter(*(each.name for each in fields(SkBuff)))
"""All fields of a packet, as a new one takes them: dataclasses.replace() would take ten times as long."""
