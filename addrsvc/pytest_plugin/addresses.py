"""Assertions on the addresses that a device has."""

from addrsvc.mirror.operations import Operations
from addrsvc.netlink.messages import AddrMsg
from addrsvc.netlink.text import line
from addrsvc.pytest_plugin.table import align, matches, side_by_side
from addrsvc.uapi import RTM_NEWADDR

__all__ = ["assert_addresses"]


def assert_addresses(kernel: Operations, dev: str, *expected: str) -> None:
    """Have a device hold exactly these addresses, in the kernel's order; none, if none are given.

    Args:
        kernel: the namespace, of either kernel.
        dev: the name of the device.
        expected: addresses with their prefix length, ``::1/128``; or with all that ``ip addr`` says of them behind it,
            ``::1/128 scope host proto kernel_lo``, where ``...`` stands for anything.

    Raises:
        AssertionError: it holds others; the text shows expected and seen side by side.
        KernelError: ENODEV.
    """
    __tracebackhide__ = True
    wanted = [text if " " in text else f"{text} ..." for text in expected]
    rows = align(wanted, _held(kernel, dev))
    if not all(matches(*row) for row in rows):
        raise AssertionError(f"{dev} has not the addresses that were expected:\n{side_by_side(rows)}")


def _held(kernel: Operations, dev: str) -> list[str]:
    """The addresses of a device in the words of ip(8), without the device and the family in front."""
    ifindex = kernel.ifindex(dev)
    held = (msg for msg in kernel.dump() if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR)
    return [line(msg).split(maxsplit=3)[3] for msg in held if msg.ifa_index == ifindex]
