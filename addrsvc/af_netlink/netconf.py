"""RTM_GETNETCONF as bytes: net/ipv4/devinet.c and net/ipv6/addrconf.c, what a device's settings are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from errno import EINVAL
from typing import Final

from addrsvc.af_netlink.request import Dump, Handler, Request, for_each_netdev_dump, resumable
from addrsvc.errors import KernelError
from addrsvc.model.devinet import inet_netconf_fill_devconf, inet_netconf_get_devconf
from addrsvc.model.inet6_dev import inet6_netconf_fill_devconf, inet6_netconf_get_devconf
from addrsvc.model.structs import InDevice, Inet6Dev, Net, NetDevice
from addrsvc.netlink.messages import NetconfMsg
from addrsvc.netlink.nlattr import (
    NL_VALIDATE_DEPRECATED_STRICT,
    NL_VALIDATE_LIBERAL,
    NlaPolicy,
    Policies,
    nlmsg_parse,
)
from addrsvc.uapi import AF_INET, AF_INET6, NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX_DEFAULT, RTM_GETNETCONF

__all__ = ["HANDLERS"]

_HDRLEN: Final = 16
_NETCONFMSG_SIZE: Final = 1
_ATTRS: Final = _HDRLEN + 4
"""Where the attributes begin: the header's one byte is padded."""

_IFINDEX, _FORWARDING, _RP_FILTER, _, _PROXY_NEIGH, _IGNORE_ROUTES_WITH_LINKDOWN = range(1, 7)
_NETCONFA_MAX: Final = 9
_INT: Final = NlaPolicy(len=4)

# Kernel: net/ipv4/devinet.c, devconf_ipv4_policy; net/ipv6/addrconf.c, devconf_ipv6_policy.
_IPV6_POLICY: Final[Policies] = dict.fromkeys((_IFINDEX, _FORWARDING, _PROXY_NEIGH, _IGNORE_ROUTES_WITH_LINKDOWN), _INT)
_IPV4_POLICY: Final[Policies] = {**_IPV6_POLICY, _RP_FILTER: _INT}


@dataclass(frozen=True, slots=True)
class _Family:
    """What IPv4 and IPv6 do differently."""

    prefix: str
    policy: Policies
    half: Callable[[NetDevice], InDevice | Inet6Dev | None]
    fill: Callable[[int, Mapping[str, int]], NetconfMsg]
    get: Callable[[Net, int], NetconfMsg]

    def doit(self, request: Request) -> None:
        """Kernel: net/ipv4/devinet.c, inet_netconf_get_devconf(), inet_netconf_valid_get_req(); IPv6 likewise."""
        validate = NL_VALIDATE_DEPRECATED_STRICT if request.strict else NL_VALIDATE_LIBERAL
        request.tb = nlmsg_parse(request.data, _NETCONFMSG_SIZE, _NETCONFA_MAX, self.policy, validate, request.extack)
        if request.strict and request.tb.keys() - {_IFINDEX}:
            raise KernelError(EINVAL, f"{self.prefix}: Unsupported attribute in netconf get request")
        ifindex = request.number(_IFINDEX, signed=True)
        if ifindex is None:
            raise KernelError(EINVAL)
        request.answer(self.get(request.net, ifindex))

    def dumpit(self, dump: Dump) -> Iterator[bytes]:
        """Kernel: net/ipv4/devinet.c, inet_netconf_dump_devconf(); net/ipv6/addrconf.c likewise."""
        if dump.strict and len(dump.data) != _ATTRS:
            raise KernelError(EINVAL, f"{self.prefix}: Invalid data after header in netconf dump request")
        for dev in for_each_netdev_dump(dump):
            if (half := self.half(dev)) is not None:
                yield dump.message(self.fill(dev.ifindex, half.cnf))
        for ifindex in resumable(dump, lambda: [NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX_DEFAULT]):
            yield dump.message(self.get(dump.net, ifindex))


_IPV4: Final = _Family(
    "ipv4", _IPV4_POLICY, lambda dev: dev.ip_ptr, inet_netconf_fill_devconf, inet_netconf_get_devconf
)
_IPV6: Final = _Family(
    "ipv6", _IPV6_POLICY, lambda dev: dev.ip6_ptr, inet6_netconf_fill_devconf, inet6_netconf_get_devconf
)

HANDLERS: Final[Mapping[tuple[int, int], Handler]] = {
    (RTM_GETNETCONF, AF_INET): Handler(_IPV4.doit, _IPV4.dumpit),
    (RTM_GETNETCONF, AF_INET6): Handler(_IPV6.doit, _IPV6.dumpit),
}
