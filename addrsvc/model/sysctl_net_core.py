"""net/core/sysctl_net_core.c: what bounds the receiving of packets, net.core.*.

These settings are the machine's, and init_net alone shows them.
"""

from collections.abc import Mapping
from errno import ENOENT
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.proc_sysctl import S32, CtlTables, proc_dointvec
from addrsvc.model.structs import Net
from addrsvc.uapi import INT_MAX

__all__ = ["net_core_table"]

_PREFIX: Final = "net.core."
_POSITIVE: Final = (1, INT_MAX)

# One row per setting: what it takes.
_TAKES: Final[Mapping[str, tuple[int, int]]] = {
    "dev_weight": _POSITIVE,
    "dev_weight_rx_bias": _POSITIVE,
    "dev_weight_tx_bias": _POSITIVE,
    "netdev_budget": S32,
    "netdev_max_backlog": S32,
}


def _names(net: Net) -> list[str]:
    return [_PREFIX + leaf for leaf in _TAKES] if net is net.machine.net_namespace_list[0] else []


def _leaf(net: Net, name: str) -> str:
    if name not in _names(net):
        raise KernelError(ENOENT)
    return name.removeprefix(_PREFIX)


def _read(net: Net, name: str) -> str:
    return str(getattr(net.machine.softnet, _leaf(net, name)))


def _write(net: Net, name: str, text: str) -> None:
    leaf = _leaf(net, name)
    if text:
        setattr(net.machine.softnet, leaf, proc_dointvec(text, _TAKES[leaf]))


net_core_table: Final = CtlTables(_names, _read, _write)
"""Kernel: net/core/sysctl_net_core.c, net_core_table."""
