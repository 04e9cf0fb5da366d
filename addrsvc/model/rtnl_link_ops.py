"""net/core/rtnetlink.c, kinds of devices: which can be made by request.

One row per kind, added by `x_init(machine)` of the module that knows the kind; `boot` calls it.
"""

from addrsvc.model.structs import Machine, RtnlLinkOps

__all__ = ["rtnl_link_ops_get", "rtnl_link_register"]


def rtnl_link_register(machine: Machine, ops: RtnlLinkOps) -> None:
    """Have devices of a kind made by request.

    Kernel: net/core/rtnetlink.c, rtnl_link_register().
    Differs: a kind that exists is replaced, where the kernel says EEXIST.
    """
    machine.link_ops[ops.kind] = ops


def rtnl_link_ops_get(machine: Machine, kind: str | None) -> RtnlLinkOps | None:
    """What makes devices of a kind; nothing for a kind that nobody knows.

    Kernel: net/core/rtnetlink.c, rtnl_link_ops_get().
    """
    return machine.link_ops.get(kind) if kind is not None else None
