"""Which namespace a request names, be it by a process, by a descriptor or by an id."""

from errno import EACCES, EBADF, EINVAL, ESRCH

from addrsvc.af_netlink.request import Request
from addrsvc.errors import KernelError
from addrsvc.model.netns_ids import get_net_ns_by_id
from addrsvc.model.structs import Net

__all__ = ["get_net_ns_by_fd", "get_net_ns_by_pid", "rtnl_get_net_ns_capable"]


def get_net_ns_by_pid(request: Request, pid: int) -> Net:
    """The namespace of a process.

    Kernel: net/core/net_namespace.c, get_net_ns_by_pid().
    Differs: processes are known by the sockets that they opened.

    Raises:
        KernelError: ESRCH, there is no such process.
    """
    for sock in request.sock.table.socks.values():
        if pid and sock.pid == pid:
            return sock.net
    raise KernelError(ESRCH)


def get_net_ns_by_fd(request: Request, fd: int) -> Net:
    """The namespace that a descriptor of the asker's leads to.

    Kernel: net/core/net_namespace.c, get_net_ns_by_fd().
    Differs: who asks the model has no descriptors that it knew of.

    Raises:
        KernelError: EBADF, always.
    """
    raise KernelError(EBADF)


def rtnl_get_net_ns_capable(request: Request, nsid: int, words: str | None = None, attr: int | None = None) -> Net:
    """The namespace that who asks knows by an id, if he may look into it; else he is told `words`, about `attr`.

    Kernel: net/core/rtnetlink.c, rtnl_get_net_ns_capable().

    Raises:
        KernelError: EINVAL, he knows none by it; EACCES, he may not.
    """
    net = get_net_ns_by_id(request.net, nsid)
    if net is None:
        raise KernelError(EINVAL, words, attr=attr)
    if not request.sock.may_admin():
        raise KernelError(EACCES, words, attr=attr)
    return net
