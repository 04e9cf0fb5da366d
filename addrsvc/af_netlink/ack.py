"""net/netlink/af_netlink.c, acknowledgements: what a request is told of how it went, extended or not."""

from collections.abc import Mapping
from struct import Struct
from typing import Final

from addrsvc.af_netlink.request import NLMSGHDR, Dump, Request
from addrsvc.errors import KernelError
from addrsvc.netlink.nlattr import NLA_F_NESTED, NLMSG_ALIGN, ExtAck, policy_tlv
from addrsvc.uapi import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGERR_ATTR_COOKIE,
    NLMSGERR_ATTR_MISS_NEST,
    NLMSGERR_ATTR_MISS_TYPE,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
    NLMSGERR_ATTR_POLICY,
)

__all__ = ["ACK_LENGTH", "acks", "explain", "netlink_ack", "netlink_dump_done"]

_HDRLEN: Final = NLMSGHDR.size
_GRANTED: Final = Struct("=IHH4sIi16s")
_SEQ: Final = slice(8, 12)
"""Where a header has its sequence number."""
ACK_LENGTH: Final = _GRANTED.size
"""Bytes of the acknowledgement of a request that was granted, of which there is nothing to say."""
_S32: Final = Struct("=i")
_U32: Final = Struct("=I")
_NLATTR: Final = Struct("=HH")
_NLA_TYPE_MASK: Final = 0x3FFF


def netlink_ack(request: Request, errno: int) -> bytes:
    """The acknowledgement of a request, 0 for one that was granted.

    Kernel: net/netlink/af_netlink.c, netlink_ack().
    """
    sock = request.sock
    capped = sock.cap_ack or not errno
    echoed = request.data[:_HDRLEN] if capped else request.data
    body = _S32.pack(-errno) + echoed
    tlvs = _ack_tlvs(request.extack, errno) if sock.ext_ack else b""
    flags = NLM_F_CAPPED * capped | NLM_F_ACK_TLVS * bool(tlvs)
    body = body.ljust(NLMSG_ALIGN(len(body)), b"\0") + tlvs
    return NLMSGHDR.pack(_HDRLEN + len(body), NLMSG_ERROR, flags, request.seq, sock.portid) + body


def acks(headers: list[bytes], portid: int) -> list[bytes]:
    """The same for many requests that were granted, of which there is nothing to say.  Ours."""
    return [_GRANTED.pack(ACK_LENGTH, NLMSG_ERROR, NLM_F_CAPPED, header[_SEQ], portid, 0, header) for header in headers]


def netlink_dump_done(dump: Dump, errno: int, room: int) -> bytes:
    """The end of a dump, which tells what went wrong as far as there is room.

    Kernel: net/netlink/af_netlink.c, netlink_dump_done().
    """
    body = _S32.pack(errno)
    flags = dump.nlmsg_flags()
    tlvs = _ack_tlvs(dump.extack, errno) if dump.sock.ext_ack else b""
    if tlvs:
        flags |= NLM_F_ACK_TLVS
        body += tlvs if len(tlvs) <= room - _HDRLEN - len(body) else b""
    return NLMSGHDR.pack(_HDRLEN + len(body), NLMSG_DONE, flags, dump.seq, dump.sock.portid) + body


def explain(request: Request, refusal: KernelError) -> None:
    """Put into the extended acknowledgement what a refusal says, unless the handler has done so."""
    extack = request.extack
    if refusal.extack is not None:
        extack.msg = refusal.extack
    if refusal.attr is not None:
        path = (refusal.attr,) if isinstance(refusal.attr, int) else refusal.attr
        extack.bad_attr = _offset(request.data, request.tb, path)
    if refusal.missing is not None:
        extack.miss_type = refusal.missing


def _offset(data: bytes, tb: Mapping[int, tuple[int, int]], path: tuple[int, ...]) -> int:
    """Where an attribute lies, which is named by the types that lead to it; the last of a type counts."""
    payload, length = tb[path[0]]
    for wanted in path[1:]:
        offset, end = payload, payload + length
        while offset + _NLATTR.size <= end:
            nla_len, nla_type = _NLATTR.unpack_from(data, offset)
            if nla_type & _NLA_TYPE_MASK == wanted:
                payload, length = offset + _NLATTR.size, nla_len - _NLATTR.size
            offset += NLMSG_ALIGN(max(nla_len, _NLATTR.size))
    return payload - _NLATTR.size


def _tlv(kind: int, payload: bytes) -> bytes:
    length = _NLATTR.size + len(payload)
    return (_NLATTR.pack(length, kind) + payload).ljust(NLMSG_ALIGN(length), b"\0")


def _text_tlv(text: str) -> bytes:
    return _tlv(NLMSGERR_ATTR_MSG, text.encode("utf-8", "surrogateescape") + b"\0")


def _ack_tlvs(extack: ExtAck, errno: int) -> bytes:
    """Kernel: net/netlink/af_netlink.c, netlink_ack_tlv_fill()."""
    tlvs = b""
    if extack.msg is not None:
        tlvs += _text_tlv(extack.msg)
    if extack.cookie:
        tlvs += _tlv(NLMSGERR_ATTR_COOKIE, extack.cookie)
    if not errno:
        return tlvs
    if extack.bad_attr is not None:
        tlvs += _tlv(NLMSGERR_ATTR_OFFS, _U32.pack(extack.bad_attr))
    if extack.policy is not None and (policy := policy_tlv(extack.policy)):
        tlvs += _tlv(NLMSGERR_ATTR_POLICY | NLA_F_NESTED, policy)
    if extack.miss_type is not None:
        tlvs += _tlv(NLMSGERR_ATTR_MISS_TYPE, _U32.pack(extack.miss_type))
    if extack.miss_nest is not None:
        tlvs += _tlv(NLMSGERR_ATTR_MISS_NEST, _U32.pack(extack.miss_nest))
    return tlvs
