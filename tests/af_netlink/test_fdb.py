"""RTM_*NEIGH of AF_BRIDGE on both kernels, byte for byte: forwarding databases, asked for and changed, well and ill."""

from collections.abc import Sequence
from itertools import product
from struct import pack

import pytest

from addrsvc.uapi import (
    AF_BRIDGE,
    NDA_DST,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_VLAN,
    NDA_VNI,
    NLM_F_ACK,
    NLM_F_BULK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NTF_MASTER,
    NTF_SELF,
    NTF_USE,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
)
from tests.af_netlink.twins import Twins, messages, nla, nlmsg

LO, IFB, NOBODY = 1, 2, 77
MAC = b"\2\0\0\0\0\5"
FLAGS = (0, NTF_SELF, NTF_MASTER, NTF_SELF | NTF_MASTER, NTF_USE)
INDEXES = (0, LO, IFB, NOBODY, -1)
ATTRS = [
    b"",
    nla(NDA_LLADDR, MAC),
    nla(NDA_LLADDR, MAC[:5]),
    nla(NDA_LLADDR, MAC) + nla(NDA_MASTER, IFB),
    nla(NDA_LLADDR, MAC) + nla(NDA_MASTER, NOBODY),
    nla(NDA_LLADDR, MAC) + nla(NDA_VLAN, b"\1\0"),
    nla(NDA_LLADDR, MAC) + nla(NDA_VLAN, b"\xff\x0f"),
    nla(NDA_LLADDR, MAC) + nla(NDA_VLAN, b"\1"),
    nla(NDA_LLADDR, MAC) + nla(NDA_VNI, 5),
    nla(NDA_LLADDR, MAC) + nla(NDA_DST, MAC[:4]),
    nla(NDA_MASTER, IFB),
    nla(NDA_MASTER, NOBODY),
    nla(NDA_MASTER, b"\2\0"),
    nla(NDA_IFINDEX, IFB),
    nla(NDA_IFINDEX, b"\2\0"),
    nla(NDA_LLADDR, MAC) + b"???",
]


def ndmsg(ifindex: int, flags: int = 0, state: int = 0, *, kind: int = 0) -> bytes:
    return pack("=BxxxiHBB", AF_BRIDGE, ifindex, state, flags, kind)


@pytest.fixture
def ifb(sides: Twins) -> Twins:
    """Besides lo there is a device like Ethernet."""
    sides.ask(nlmsg(RTM_NEWLINK, bytes(16) + nla(3, "ifb0") + nla(1, MAC) + nla(18, nla(1, "ifb")), 0x600 | NLM_F_ACK))
    return sides


def words(answer: Sequence[bytes]) -> str:
    """What the extended acknowledgement says."""
    (_, _, _, _, body), *_ = messages(answer[-1])
    return body[24:].split(b"\0")[0].decode() if body[22:24] == b"\1\0" else ""


@pytest.mark.parametrize("strict", [False, True])
def test_nobody_looks_one_up_and_why_not_is_found_in_the_kernels_order(ifb: Twins, strict: bool) -> None:
    said = set()
    for ifindex, flags, attrs in product(INDEXES, FLAGS, ATTRS):
        said.add(words(ifb.ask(nlmsg(RTM_GETNEIGH, ndmsg(ifindex, flags) + attrs), strict=strict)))
    for body in (b"", b"\7", ndmsg(LO)[:11], ndmsg(LO, state=2), ndmsg(LO, kind=1)):
        said.add(words(ifb.ask(nlmsg(RTM_GETNEIGH, body), strict=strict)))

    assert {
        "Fdb get operation not supported by device", "Master and device are mutually exclusive",
        "Device is not a bridge port", "Invalid master ifindex", "Invalid address in fdb get request",
        "Missing lookup address for fdb get request", "Unknown device ifindex", "No device specified",
        "Unsupported attribute in fdb get request", "invalid vlan id",
        "Invalid flags in header for fdb get request", "Invalid values in header for fdb get request",
        "Invalid header for fdb get request",
    } <= said  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
def test_dumps(ifb: Twins, strict: bool) -> None:
    ifb.ask(nlmsg(RTM_NEWNEIGH, ndmsg(IFB, NTF_SELF, NUD_PERMANENT) + nla(NDA_LLADDR, MAC), 0x600 | NLM_F_ACK))
    for ifindex, flags, attrs in product(INDEXES, FLAGS, ATTRS):
        ifb.ask(nlmsg(RTM_GETNEIGH, ndmsg(ifindex, flags) + attrs, NLM_F_DUMP), strict=strict)
    for body in (b"\7", ndmsg(LO)[:11], ndmsg(LO, state=2), ndmsg(LO, kind=1), ndmsg(LO).ljust(16, b"\0")):
        ifb.ask(nlmsg(RTM_GETNEIGH, body, NLM_F_DUMP), strict=strict)


@pytest.mark.parametrize("nlmsg_type", [RTM_NEWNEIGH, RTM_DELNEIGH])
@pytest.mark.parametrize("flags", [NLM_F_CREATE, NLM_F_CREATE | NLM_F_EXCL, NLM_F_BULK])
@pytest.mark.parametrize("state", [0, NUD_PERMANENT])
def test_changes(ifb: Twins, nlmsg_type: int, flags: int, state: int) -> None:
    for ifindex, ntf, attrs in product(INDEXES, FLAGS, ATTRS):
        ifb.ask(nlmsg(nlmsg_type, ndmsg(ifindex, ntf, state) + attrs, NLM_F_ACK | flags))
    ifb.ask(nlmsg(RTM_GETNEIGH, ndmsg(0), NLM_F_DUMP))
