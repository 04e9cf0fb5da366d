"""A loopback device with many addresses, and what one more operation on it costs.

Nothing here may cost more because the addresses are many: only what lists them may.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.benchmarks.race import Lap

if TYPE_CHECKING:
    from addrsvc.linux import Linux

Operation = Callable[["Linux", int], None]


def crowded(addresses: int) -> "Linux":
    """A machine whose lo is up and has this many IPv6 addresses, ::1 among them."""
    from addrsvc import Linux

    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    for number in range(1, addresses):
        linux.init_net.addr_add(f"2001:db8::{number >> 16:x}:{number & 0xFFFF:x}/128", dev="lo")
    linux.effects()
    return linux


def inject_change(linux: "Linux", number: int) -> None:
    linux.init_net.inject("NETDEV_CHANGE", "lo")


def inject_up(linux: "Linux", number: int) -> None:
    linux.init_net.inject("NETDEV_UP", "lo")


def change_mtu(linux: "Linux", number: int) -> None:
    linux.init_net.link_set("lo", mtu=9000 + number % 2)


def change_hardware_address(linux: "Linux", number: int) -> None:
    linux.init_net.link_set("lo", address=f"02:00:00:00:00:0{number % 2 + 1}")


def rename(linux: "Linux", number: int) -> None:
    linux.init_net.link_set("lo", name="lo0")
    linux.init_net.link_set("lo0", name="lo")


def change_alias(linux: "Linux", number: int) -> None:
    linux.init_net.link_set("lo", alias=f"alias {number}")


def add_and_delete(linux: "Linux", number: int) -> None:
    address = f"2001:db8:1::{number:x}/128"
    linux.init_net.addr_add(address, dev="lo")
    linux.init_net.addr_del(address, dev="lo")


def add_and_delete_with_prefix(linux: "Linux", number: int) -> None:
    address = f"2001:db8:2:{number:x}::1/64"
    linux.init_net.addr_add(address, dev="lo")
    linux.init_net.addr_del(address, dev="lo")


def add_and_delete_with_lifetime(linux: "Linux", number: int) -> None:
    address = f"2001:db8:3::{number:x}/128"
    linux.init_net.addr_add(address, dev="lo", valid_lft=3600, preferred_lft=1800)
    linux.init_net.addr_del(address, dev="lo")


def delete_and_add_an_old_one(linux: "Linux", number: int) -> None:
    linux.init_net.addr_del("2001:db8::2/128", dev="lo")
    linux.init_net.addr_add("2001:db8::2/128", dev="lo")


def modify(linux: "Linux", number: int) -> None:
    """Give an address that is there other lifetimes."""
    linux.init_net.addr_add("2001:db8::1/128", dev="lo", valid_lft=3600 + number, preferred_lft=1800, replace=True)


OPERATIONS: dict[str, Operation] = {
    "inject NETDEV_CHANGE": inject_change,
    "inject NETDEV_UP": inject_up,
    "set alias": change_alias,
    "set mtu": change_mtu,
    "set hardware address": change_hardware_address,
    "rename there and back": rename,
    "add, delete a /128": add_and_delete,
    "add, delete a /64": add_and_delete_with_prefix,
    "add, delete with lifetime": add_and_delete_with_lifetime,
    "delete, add an old /128": delete_and_add_an_old_one,
    "modify lifetime": modify,
}


def repeated(operation: Operation, linux: "Linux", times: int) -> Lap:
    """A lap of so many operations, after which the machine has nothing left to say."""

    def lap() -> None:
        for number in range(times):
            operation(linux, number)
        linux.effects()

    return lap
