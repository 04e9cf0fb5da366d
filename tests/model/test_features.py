"""Features: every bit with its number and name, and who has to segment a packet, case by case."""

import fcntl
import socket
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EBUSY
from itertools import combinations, product

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, run_in
from addrsvc.model import features as f
from addrsvc.model.dev import alloc_netdev, register_netdevice
from addrsvc.model.dev_features import netdev_fix_features, netdev_update_features
from addrsvc.model.features import (
    GSO_CORRESPONDENCE,
    FeatureBit,
    can_checksum_protocol,
    check_gso_correspondence,
    feature_names,
    for_each_netdev_feature,
    net_gso_ok,
    netdev_features_strings,
    netif_needs_gso,
    skb_gso_ok,
)
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.skbuff import SkbSharedInfo, SkBuff
from addrsvc.model.structs import NetDevice, NetDeviceOps, Printk
from addrsvc.model.xmit import netif_skb_features
from addrsvc.uapi import (
    CHECKSUM_COMPLETE,
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    CHECKSUM_UNNECESSARY,
    ETH_P_FCOE,
    ETH_P_IP,
    ETH_P_IPV6,
    IFF_LOOPBACK,
    NET_NAME_USER,
)
from tests.model.ears import Ear

LO_FEATURES = 0x52E401D4C69
ALL = (1 << 64) - 1
CHECKSUMS = (CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL)
SIOCETHTOOL, ETHTOOL_GSTRINGS, ETHTOOL_GSSET_INFO = 0x8946, 0x1B, 0x37
ETH_SS_FEATURES = 4


# --- bits and names -------------------------------------------------------------------------------------------------


def test_every_bit_is_named_as_its_feature_and_every_feature_has_its_bit() -> None:
    for bit in FeatureBit:
        assert getattr(f, bit.name.removesuffix("_BIT")) == 1 << bit
    assert [bit for bit in range(64) if bit not in set(FeatureBit)] == [2, 12, 13]


def strings_of_the_running_kernel() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        info = array("B", struct.pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0))
        fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sQ16x", b"lo", info.buffer_info()[0]))
        (number,) = struct.unpack_from("=I", info, 16)
        strings = array("B", struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, number) + bytes(32 * number))
        fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sQ16x", b"lo", strings.buffer_info()[0]))
    return [strings[12 + 32 * nth : 44 + 32 * nth].tobytes().rstrip(b"\0").decode() for nth in range(number)]


def test_the_names_are_those_of_the_running_kernel(netns: NetNs) -> None:
    names = [netdev_features_strings.get(bit, "") for bit in range(64)]

    assert run_in(netns, strings_of_the_running_kernel) == names


def test_features_are_walked_from_the_highest_bit_down() -> None:
    assert list(for_each_netdev_feature(1 << 63 | 1 << 5 | 1)) == [63, 5, 0]
    assert list(for_each_netdev_feature(0)) == []
    assert feature_names(f.NETIF_F_TSO6 | f.NETIF_F_SG) == ["tx-scatter-gather", "tx-tcp6-segmentation"]


def test_what_is_segmented_in_software_is_one_kind_more_than_it_was() -> None:
    assert sum(1 << bit for bit in (16, 18, 19, 20)) == f.NETIF_F_ALL_TSO
    assert sum(1 << bit for bit in (16, 18, 19, 20, 30, 33, 34)) == f.NETIF_F_GSO_SOFTWARE_5_17
    assert f.NETIF_F_GSO_SOFTWARE == f.NETIF_F_GSO_SOFTWARE_5_17 | 1 << 35 == 0xE401D0000
    assert sum(1 << bit for bit in range(16, 36)) == f.NETIF_F_GSO_MASK


@pytest.mark.parametrize("nth", range(len(GSO_CORRESPONDENCE)))
def test_a_row_that_does_not_correspond_is_found(nth: int) -> None:
    gso_type, feature = GSO_CORRESPONDENCE[nth]
    for wrong in ((gso_type << 1, feature), (gso_type, feature << 1), (gso_type, feature | 1 << 40)):
        with pytest.raises(AssertionError, match="does not correspond"):
            check_gso_correspondence([*GSO_CORRESPONDENCE[:nth], wrong, *GSO_CORRESPONDENCE[nth + 1 :]])


def test_every_kind_of_segmentation_has_a_row() -> None:
    assert [gso_type for gso_type, _ in GSO_CORRESPONDENCE] == [1 << bit for bit in range(20)]
    assert sum(feature for _, feature in GSO_CORRESPONDENCE) == f.NETIF_F_GSO_MASK


# --- who segments ---------------------------------------------------------------------------------------------------

# Each bit of gso_type that there is, and the bit of the feature that covers it.
COVERED_BY = {1 << bit: 1 << 16 + bit for bit in range(20)} | {1 << 30: 1 << 19, 1 << 31: 1 << 19}


def test_no_type_is_always_covered() -> None:
    assert net_gso_ok(0, 0)
    assert net_gso_ok(ALL, 0)


@pytest.mark.parametrize("gso_type", COVERED_BY)
def test_a_type_is_covered_by_one_feature_and_no_other(gso_type: int) -> None:
    assert [bit for bit in range(64) if net_gso_ok(1 << bit, gso_type)] == [COVERED_BY[gso_type].bit_length() - 1]
    assert not net_gso_ok(ALL & ~COVERED_BY[gso_type], gso_type)


def test_types_are_covered_together_if_each_of_them_is() -> None:
    for one, other in combinations(COVERED_BY, 2):
        needed = COVERED_BY[one] | COVERED_BY[other]
        for has_one, has_other in product((False, True), repeat=2):
            features = (COVERED_BY[one] if has_one else 0) | (COVERED_BY[other] if has_other else 0)
            assert net_gso_ok(features, one | other) == (features & needed == needed)


def packet(gso_size: int = 0, gso_type: int = 0, ip_summed: int = CHECKSUM_NONE, *, frag_list: bool = False) -> SkBuff:
    parts = [SkBuff(head=bytearray(8))] if frag_list else []
    shinfo = SkbSharedInfo(gso_size=gso_size, gso_type=gso_type, frag_list=parts)
    return SkBuff(head=bytearray(60), ip_summed=ip_summed, shinfo=shinfo)


@pytest.mark.parametrize("gso_type", COVERED_BY)
def test_a_list_of_fragments_needs_a_feature_of_its_own(gso_type: int) -> None:
    for covered, frag_list, has_fraglist in product((False, True), repeat=3):
        features = (COVERED_BY[gso_type] if covered else 0) | (f.NETIF_F_FRAGLIST if has_fraglist else 0)

        is_ok = skb_gso_ok(packet(1000, gso_type, frag_list=frag_list), features)
        assert is_ok == (covered and (has_fraglist or not frag_list))


@dataclass(frozen=True)
class Row:
    """A row of the table of who segments: what it applies to, and whether software has to."""

    gso_size: set[int]
    covered: set[bool]
    lacks_fraglist: set[bool]
    ip_summed: set[int]
    needs: bool

    def applies(self, gso_size: int, covered: bool, lacks_fraglist: bool, ip_summed: int) -> bool:
        return (
            gso_size in self.gso_size
            and covered in self.covered
            and lacks_fraglist in self.lacks_fraglist
            and ip_summed in self.ip_summed
        )


SIZES_OF_SEGMENTS = {1, 1448, 65535}
ANY = {False, True}
NEEDS_GSO = (
    Row({0}, ANY, ANY, set(CHECKSUMS), False),
    Row(SIZES_OF_SEGMENTS, {False}, ANY, set(CHECKSUMS), True),
    Row(SIZES_OF_SEGMENTS, {True}, {True}, set(CHECKSUMS), True),
    Row(SIZES_OF_SEGMENTS, {True}, {False}, {CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY}, False),
    Row(SIZES_OF_SEGMENTS, {True}, {False}, {CHECKSUM_NONE, CHECKSUM_COMPLETE}, True),
)


@pytest.mark.parametrize("gso_type", COVERED_BY)
def test_software_segments_where_the_table_says_so(gso_type: int) -> None:
    for gso_size, covered, frag_list, has_fraglist, ip_summed in product(
        (0, 1, 1448, 65535), (False, True), (False, True), (False, True), CHECKSUMS
    ):
        features = (COVERED_BY[gso_type] if covered else 0) | (f.NETIF_F_FRAGLIST if has_fraglist else 0)
        skb = packet(gso_size, gso_type, ip_summed, frag_list=frag_list)
        lacks_fraglist = frag_list and not has_fraglist

        (row,) = [row for row in NEEDS_GSO if row.applies(gso_size, covered, lacks_fraglist, ip_summed)]
        assert netif_needs_gso(skb, features) == row.needs


@pytest.mark.parametrize("protocol", [ETH_P_IP, ETH_P_IPV6, ETH_P_FCOE, 0x88B5])
def test_a_checksum_is_computed_by_whoever_has_the_feature_of_the_protocol(protocol: int) -> None:
    helpful = {
        ETH_P_IP: {f.NETIF_F_HW_CSUM, f.NETIF_F_IP_CSUM},
        ETH_P_IPV6: {f.NETIF_F_HW_CSUM, f.NETIF_F_IPV6_CSUM},
        ETH_P_FCOE: {f.NETIF_F_FCOE_CRC},
    }.get(protocol, {f.NETIF_F_HW_CSUM})

    assert {1 << bit for bit in range(64) if can_checksum_protocol(1 << bit, protocol)} == helpful


# --- what a device can do for one packet ------------------------------------------------------------------------------


def lo_with(features: int, **fields: int) -> NetDevice:
    lo = Linux().init_net.device("lo")
    lo.features = features
    for name, value in fields.items():
        setattr(lo, name, value)
    return lo


def internet(version: int, gso_type: int, *, dont_fragment: bool = True, header: int = 0) -> SkBuff:
    """A packet of which the headers can be looked at, at offset 0."""
    head = bytearray(100)
    head[6] = 0x40 if dont_fragment else 0
    skb = packet(1000, gso_type, CHECKSUM_PARTIAL)
    skb.head, skb.protocol = head, ETH_P_IP if version == 4 else ETH_P_IPV6
    skb.network_header, skb.transport_header = 0, header or (20 if version == 4 else 40)
    return skb


# Protocol, the limit that counts for it, and the one that does not.
SIZES = ((ETH_P_IPV6, "gso_max_size", "gso_ipv4_max_size"), (ETH_P_IP, "gso_ipv4_max_size", "gso_max_size"),
         (0x88B5, "gso_ipv4_max_size", "gso_max_size"))  # fmt: skip


@pytest.mark.parametrize(("protocol", "counts", "other"), SIZES)
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_packet_as_long_as_the_limit_is_cut_in_software(protocol: int, counts: str, other: str, beyond: int) -> None:
    skb = internet(6, f.SKB_GSO_TCPV6)
    skb.protocol = protocol
    lo = lo_with(LO_FEATURES, **{counts: skb.len - beyond, other: 1})

    kept = LO_FEATURES if beyond < 0 else LO_FEATURES & ~f.NETIF_F_GSO_MASK
    assert netif_skb_features(skb, lo) == kept


@pytest.mark.parametrize("segments", [0, 9, 10, 11])
def test_more_segments_than_the_limit_are_cut_in_software(segments: int) -> None:
    skb = internet(6, f.SKB_GSO_TCPV6)
    skb.shinfo.gso_segs = segments
    kept = LO_FEATURES if segments <= 10 else LO_FEATURES & ~f.NETIF_F_GSO_MASK

    assert netif_skb_features(skb, lo_with(LO_FEATURES, gso_max_segs=10)) == kept


def test_a_size_without_a_type_is_warned_of() -> None:
    lo = lo_with(LO_FEATURES)
    lo.machine.effects.clear()

    assert netif_skb_features(internet(6, 0), lo) == LO_FEATURES & ~f.NETIF_F_GSO_MASK
    assert lo.machine.effects == [Printk("warning", "lo: caps=(0x0000052e401d4c69, 0x0000000000000000)")]


@pytest.mark.parametrize("partial", [False, True])
def test_what_is_done_in_part_waits_until_the_other_part_is_done(partial: bool) -> None:
    gso_type = f.SKB_GSO_TCPV6 | (f.SKB_GSO_PARTIAL if partial else 0)
    lo = lo_with(LO_FEATURES, gso_partial_features=f.NETIF_F_TSO6)

    assert netif_skb_features(internet(6, gso_type), lo) == LO_FEATURES & ~(0 if partial else f.NETIF_F_TSO6)


def test_ids_are_mangled_only_where_nobody_may_fragment() -> None:
    for gso_type, dont_fragment, encapsulated in product(
        (f.SKB_GSO_TCPV4, f.SKB_GSO_UDP_L4, f.SKB_GSO_TCPV6), (False, True), (False, True)
    ):
        skb = internet(4, gso_type, dont_fragment=dont_fragment)
        skb.encapsulation = encapsulated
        if encapsulated:
            skb.network_header, skb.inner_network_header = 50, 0
        loses = gso_type == f.SKB_GSO_TCPV4 and not dont_fragment

        kept = LO_FEATURES & ~(f.NETIF_F_TSO_MANGLEID if loses else 0)
        assert netif_skb_features(skb, lo_with(LO_FEATURES, hw_enc_features=ALL)) == kept


def test_ipv6_checksums_end_at_extension_headers() -> None:
    dependent = f.NETIF_F_IPV6_CSUM | f.NETIF_F_TSO6 | f.NETIF_F_GSO_UDP_L4
    features = LO_FEATURES & ~f.NETIF_F_HW_CSUM | f.NETIF_F_IP_CSUM | f.NETIF_F_IPV6_CSUM
    for version, gso_type, header in product((4, 6), (f.SKB_GSO_TCPV4, f.SKB_GSO_TCPV6, f.SKB_GSO_UDP_L4), (40, 48)):
        skb = internet(version, gso_type, header=header)
        skb.ip_summed = CHECKSUM_NONE
        about_ipv6 = gso_type == f.SKB_GSO_TCPV6 or (gso_type == f.SKB_GSO_UDP_L4 and version == 6)

        kept = features & ~(dependent if about_ipv6 and header != 40 else 0)
        assert netif_skb_features(skb, lo_with(features)) == kept
        assert netif_skb_features(skb, lo_with(LO_FEATURES)) == LO_FEATURES


@pytest.mark.parametrize("gso_size", [0, 1000])
def test_who_cannot_compute_the_checksum_cannot_segment_either(gso_size: int) -> None:
    for ip_summed, protocol, csum in product(
        CHECKSUMS, (ETH_P_IP, ETH_P_IPV6, 0x88B5), (0, f.NETIF_F_HW_CSUM, f.NETIF_F_IP_CSUM, f.NETIF_F_IPV6_CSUM)
    ):
        features = LO_FEATURES & ~f.NETIF_F_HW_CSUM | csum
        skb = internet(4, f.SKB_GSO_TCPV4)
        skb.shinfo.gso_size, skb.protocol, skb.ip_summed = gso_size, protocol, ip_summed
        protocols = {0: (), f.NETIF_F_IP_CSUM: (ETH_P_IP,), f.NETIF_F_IPV6_CSUM: (ETH_P_IPV6,)}
        can = protocol in protocols.get(csum, (protocol,))

        lost = 0 if ip_summed == CHECKSUM_NONE or can else f.NETIF_F_CSUM_MASK | f.NETIF_F_GSO_MASK
        assert netif_skb_features(skb, lo_with(features)) == features & ~lost


def test_inside_of_tunnels_and_vlans_other_features_count() -> None:
    for encapsulated, tagged in product((False, True), repeat=2):
        skb = internet(6, f.SKB_GSO_TCPV6)
        skb.encapsulation, skb.vlan_tci = encapsulated, 7 if tagged else None
        enc, vlan = f.NETIF_F_TSO6 | f.NETIF_F_HW_CSUM | f.NETIF_F_SG, f.NETIF_F_TSO6 | f.NETIF_F_HW_CSUM
        tags = f.NETIF_F_HW_VLAN_CTAG_TX | f.NETIF_F_HW_VLAN_STAG_TX
        lo = lo_with(LO_FEATURES | tags, hw_enc_features=enc, vlan_features=vlan)

        expected = (LO_FEATURES | tags) & (enc if encapsulated else ALL) & (vlan | tags if tagged else ALL)
        assert netif_skb_features(skb, lo) == expected


# --- what depends on what ---------------------------------------------------------------------------------------------

CSUM = f.NETIF_F_HW_CSUM | f.NETIF_F_IP_CSUM | f.NETIF_F_IPV6_CSUM
RELATED = (
    f.NETIF_F_SG, f.NETIF_F_IP_CSUM, f.NETIF_F_HW_CSUM, f.NETIF_F_IPV6_CSUM, f.NETIF_F_GSO, f.NETIF_F_TSO,
    f.NETIF_F_TSO_ECN, f.NETIF_F_TSO_MANGLEID, f.NETIF_F_TSO6, f.NETIF_F_GSO_ACCECN, f.NETIF_F_GSO_UDP_L4,
)  # fmt: skip


def subsets() -> Iterator[int]:
    for chosen in product((False, True), repeat=len(RELATED)):
        yield sum(bit for bit, is_in in zip(RELATED, chosen, strict=True) if is_in)


def is_consistent(have: int) -> bool:
    """Whether nothing in it needs what is not there."""

    def lacks(*needed: int) -> bool:
        return not any(have & one for one in needed)

    return not (
        (have & f.NETIF_F_HW_CSUM and have & (f.NETIF_F_IP_CSUM | f.NETIF_F_IPV6_CSUM))
        or (have & (f.NETIF_F_ALL_TSO | f.NETIF_F_GSO) and lacks(f.NETIF_F_SG))
        or (have & f.NETIF_F_TSO and lacks(f.NETIF_F_HW_CSUM, f.NETIF_F_IP_CSUM))
        or (have & f.NETIF_F_TSO6 and lacks(f.NETIF_F_HW_CSUM, f.NETIF_F_IPV6_CSUM))
        or (have & f.NETIF_F_TSO_MANGLEID and lacks(f.NETIF_F_TSO))
        or have & f.NETIF_F_ALL_TSO == f.NETIF_F_TSO_ECN
        or (
            have & f.NETIF_F_GSO_UDP_L4
            and lacks(f.NETIF_F_HW_CSUM)
            and (lacks(f.NETIF_F_IP_CSUM) or lacks(f.NETIF_F_IPV6_CSUM))
        )
    )


def test_what_is_left_of_any_wish_needs_nothing_that_is_missing_and_nothing_was_given_up_without_need() -> None:
    lo = Linux().init_net.device("lo")
    for wish in subsets():
        left = netdev_fix_features(lo, wish)

        assert left & ~wish == 0
        assert is_consistent(left), feature_names(wish)
        if is_consistent(wish):
            assert left == wish
    lo.machine.effects.clear()


# --- at registration and later ----------------------------------------------------------------------------------------


def registered(net: Namespace, *, flags: int = 0, hw: int = 0, ops: NetDeviceOps | None = None) -> NetDevice:
    def setup(dev: NetDevice) -> None:
        dev.flags, dev.hw_features, dev.features = flags, hw, hw
        dev.netdev_ops = ops or NetDeviceOps()

    dev = alloc_netdev(net.net, "d%d", NET_NAME_USER, setup)
    with rtnl_lock(net.linux.machine):
        register_netdevice(dev)
    return dev


@pytest.mark.parametrize("flags", [0, IFF_LOOPBACK])
@pytest.mark.parametrize("hw", [0, f.NETIF_F_TSO | f.NETIF_F_SG | f.NETIF_F_HW_CSUM])
def test_registration_adds_software_s_and_what_follows_from_hardware_s(net: Namespace, flags: int, hw: int) -> None:
    dev = registered(net, flags=flags, hw=hw)
    added = f.NETIF_F_SOFT_FEATURES | f.NETIF_F_SOFT_FEATURES_OFF
    added |= 0 if flags else f.NETIF_F_NOCACHE_COPY
    added |= f.NETIF_F_TSO_MANGLEID if hw & f.NETIF_F_TSO else 0

    assert dev.hw_features == hw | added
    assert dev.wanted_features == hw | f.NETIF_F_SOFT_FEATURES
    assert dev.features == hw | (f.NETIF_F_SOFT_FEATURES if hw else f.NETIF_F_GRO)


def test_an_update_tells_the_chain_if_something_changed_and_only_then(net: Namespace) -> None:
    dev, ear = net.device("lo"), Ear()
    net.linux.register_netdevice_notifier(ear)
    ear.heard()
    with rtnl_lock(net.linux.machine):
        netdev_update_features(dev)
        nothing = ear.heard()
        dev.wanted_features &= ~f.NETIF_F_TSO
        netdev_update_features(dev)

    assert (nothing, ear.heard()) == ("", "FEAT_CHANGE lo")
    assert dev.features == LO_FEATURES & ~(f.NETIF_F_TSO | f.NETIF_F_TSO_MANGLEID)


def test_a_driver_may_lower_a_wish_or_refuse_it_aloud(net: Namespace) -> None:
    def refuse(dev: NetDevice, features: int) -> None:
        if not features & f.NETIF_F_SG:
            raise KernelError(EBUSY)

    ops = NetDeviceOps(ndo_fix_features=lambda dev, wish: wish & ~f.NETIF_F_HW_CSUM, ndo_set_features=refuse)
    hw = f.NETIF_F_SG | f.NETIF_F_HW_CSUM
    dev, ear = registered(net, hw=hw, ops=ops), Ear()
    net.linux.register_netdevice_notifier(ear)
    ear.heard()
    net.linux.effects()
    before = dev.features
    net.features_set(dev.name, f.NETIF_F_SG, 0)

    assert before == dev.features == f.NETIF_F_SG | f.NETIF_F_SOFT_FEATURES
    assert Printk("err", "d0: set_features() failed (-16); wanted 0x0000000000004000, left 0x0000000000004801") in (
        net.linux.effects()
    )
    with rtnl_lock(net.linux.machine):
        netdev_update_features(dev)
    assert ear.heard() == "FEAT_CHANGE d0"
