"""What a request for a link says: its message, and what only a request has.  Ours: the kernel passes attributes.

What lies in nests is read only when its turn comes, as the kernel does it: a request may have changed a device before
it is refused because its last nest cannot be read.  So a nest is a function here, which reads it or raises.
"""

from collections.abc import Callable
from dataclasses import dataclass

from addrsvc.model.structs import AfReader, Net
from addrsvc.netlink.messages import LinkMsg
from addrsvc.uapi import AF_INET6

__all__ = ["LinkAf", "LinkRequest", "XdpWish"]


@dataclass(frozen=True, slots=True)
class LinkAf:
    """One address family's part of IFLA_AF_SPEC."""

    family: int
    read: AfReader


@dataclass(frozen=True, slots=True)
class XdpWish:
    """IFLA_XDP: the program, by descriptor, that is to see packets first; -1 for none."""

    fd: int | None = None
    flags: int = 0
    expected_fd: int | None = None
    reads_only: bool = False
    """It has IFLA_XDP_ATTACHED or IFLA_XDP_PROG_ID, which are told, never asked for."""


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """A request for a link.

    Attributes:
        msg: the attributes that are no nests, and of IFLA_LINKINFO what it says.
        af_spec: IFLA_AF_SPEC, in the request's order.
        tgt_net: finds the namespace that the device is to be in, where the request names one.
        link_net: finds the namespace of IFLA_LINK_NETNSID.
        vfinfo: reads IFLA_VFINFO_LIST, and refuses what no device without virtual functions can do.
        port_self: reads IFLA_PORT_SELF.
        xdp: reads IFLA_XDP.
        has_protinfo: IFLA_PROTINFO is there.
        has_vf_ports: IFLA_VF_PORTS is there.
        has_proto_down_reason: IFLA_PROTO_DOWN_REASON is there.
    """

    msg: LinkMsg
    af_spec: tuple[LinkAf, ...] = ()
    tgt_net: Callable[[], Net] | None = None
    link_net: Callable[[], Net] | None = None
    vfinfo: Callable[[], None] | None = None
    port_self: Callable[[], None] | None = None
    xdp: Callable[[], XdpWish] | None = None
    has_protinfo: bool = False
    has_vf_ports: bool = False
    has_proto_down_reason: bool = False

    @classmethod
    def of(cls, msg: LinkMsg) -> "LinkRequest":
        """A request that says no more than its message."""
        inet6 = msg.inet6
        return cls(msg, af_spec=() if inet6 is None else (LinkAf(AF_INET6, lambda: inet6),))

    @property
    def names_a_link(self) -> bool:
        """Whether the device is named, by index or by name."""
        return self.msg.ifi_index > 0 or self.msg.ifname is not None or self.msg.alt_ifname is not None

    @property
    def kind(self) -> str | None:
        """Of which kind the device is to be, if the request says so."""
        return None if self.msg.linkinfo is None else self.msg.linkinfo.kind

    def target(self, net: Net) -> Net:
        """The namespace that the device is to be in; `net`, the request's own, if none is named.

        Raises:
            KernelError: there is none of that name.
        """
        return net if self.tgt_net is None else self.tgt_net()
