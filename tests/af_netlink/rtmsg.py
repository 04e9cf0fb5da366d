"""Requests about routes, and the addresses in them."""

from ipaddress import ip_address
from struct import pack

from addrsvc.uapi import AF_INET, AF_INET6, NLM_F_ACK, RTM_NEWADDR
from tests.af_netlink.twins import Twins, nla, nlmsg


def rtmsg(
    family: int, *, dst: int = 0, src: int = 0, tos: int = 0, table: int = 0, proto: int = 0, scope: int = 0,
    kind: int = 0, flags: int = 0,
) -> bytes:  # fmt: skip
    return pack("=BBBBBBBBI", family, dst, src, tos, table, proto, scope, kind, flags)


def packed(text: str) -> bytes:
    return ip_address(text).packed


def add_address(twins: Twins, text: str, plen: int, ifindex: int = 1, *extra: bytes) -> None:
    addr = packed(text)
    family = AF_INET if len(addr) == 4 else AF_INET6
    attrs = nla(2, addr) + nla(1, addr) + b"".join(extra)
    twins.ask(nlmsg(RTM_NEWADDR, pack("=BBBBi", family, plen, 0, 0, ifindex) + attrs, NLM_F_ACK | 0x600))
