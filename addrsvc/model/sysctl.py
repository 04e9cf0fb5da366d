"""net/sysctl_net.c: the door to the settings of a namespace, below /proc/sys/net.

A name is dotted, as sysctl(8) takes it; a dot inside a device name is written as a slash.
"""

from collections.abc import Mapping
from errno import ENOENT
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.addrconf_sysctl import addrconf_sysctl
from addrsvc.model.devinet_sysctl import devinet_sysctl
from addrsvc.model.proc_sysctl import CtlTables
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import Net
from addrsvc.model.sysctl_net_core import net_core_table

__all__ = ["TABLES", "sysctl_names", "sysctl_read", "sysctl_write"]

TABLES: Final[Mapping[str, CtlTables]] = {
    "net.core.": net_core_table,
    "net.ipv4.": devinet_sysctl,
    "net.ipv6.": addrconf_sysctl,
}


def _tables(name: str) -> CtlTables:
    for prefix, tables in TABLES.items():
        if name.startswith(prefix):
            return tables
    raise KernelError(ENOENT)


def sysctl_names(net: Net) -> list[str]:
    """Every name that can be read in a namespace now.  Ours."""
    return [name for tables in TABLES.values() for name in tables.names(net)]


def sysctl_read(net: Net, name: str) -> str:
    """A setting, as reading its file below /proc/sys gives it, without the line feed.

    Kernel: net/sysctl_net.c, net_ctl_root.

    Raises:
        KernelError: ENOENT, there is none of this name; EIO, a secret that was never set.
    """
    return _tables(name).read(net, name)


def sysctl_write(net: Net, name: str, text: str) -> None:
    """Write a setting as writing its file below /proc/sys does.  Takes RTNL.

    Kernel: net/sysctl_net.c, net_ctl_root.

    Raises:
        KernelError: ENOENT, there is none of this name; EACCES, it is read only; EINVAL, no number or none that fits;
            EIO, no secret.
    """
    with rtnl_lock(net.machine):
        _tables(name).write(net, name, text)
