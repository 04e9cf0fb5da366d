"""69 and 71: what lo refuses that other devices take, and alternative names."""

import os
from collections.abc import Mapping
from struct import Struct
from typing import Final

import pytest

from addrsvc.uapi import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
)
from tests.af_netlink.twins import nla, nlmsg
from tests.fidelity.asks import up
from tests.fidelity.notation import brief
from tests.fidelity.scenarios import scenario
from tests.fidelity.scenarios.rows import NETCONF
from tests.fidelity.scenarios.subject import Running, Subject, lo
from tests.fidelity.scenarios.wire import answer, attributes, brief_answer

IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_PID, IFLA_NET_NS_FD = 3, 4, 5, 10, 18, 19, 28
IFLA_TARGET_NETNSID, IFLA_PROP_LIST, IFLA_ALT_IFNAME = 46, 52, 53
NLA_F_NESTED: Final = 0x8000
NEW: Final = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL


def link(*attrs: bytes, index: int = 1) -> bytes:
    """struct ifinfomsg and what follows it."""
    return Struct("=BBHiII").pack(0, 0, 0, index, 0, 0) + b"".join(attrs)


def kind(name: str) -> bytes:
    return nla(IFLA_LINKINFO, nla(1, name.encode()))


def new(*attrs: bytes, index: int = 0) -> bytes:
    return nlmsg(RTM_NEWLINK, link(*attrs, index=index), NEW)


def change(*attrs: bytes) -> bytes:
    return nlmsg(RTM_NEWLINK, link(*attrs))


REFUSED: Final[Mapping[str, tuple[bytes, str]]] = {
    "deleted": (nlmsg(RTM_DELLINK, link()), "EOPNOTSUPP -"),
    "deleted by its name": (nlmsg(RTM_DELLINK, link(nla(IFLA_IFNAME, "lo"), index=0)), "EOPNOTSUPP -"),
    "nothing deleted": (nlmsg(RTM_DELLINK, link(index=0)), "EINVAL -"),
    "another deleted": (nlmsg(RTM_DELLINK, link(index=77)), "ENODEV -"),
    "doubled": (new(nla(IFLA_IFNAME, "lo"), kind("ifb")), "EEXIST -"),
    "its index taken": (new(nla(IFLA_IFNAME, "x"), kind("ifb"), index=1), "EEXIST -"),
    "a second of its kind": (new(nla(IFLA_IFNAME, "lo2"), kind("loopback")), "EOPNOTSUPP Unknown device type"),
    "enslaved to nobody": (change(nla(IFLA_MASTER, 77)), "EINVAL -"),
    "enslaved to itself, which is no master": (change(nla(IFLA_MASTER, 1)), "EOPNOTSUPP -"),
    "freed, though it is free": (change(nla(IFLA_MASTER, 0)), "ok"),
    "moved to a process that is none": (change(nla(IFLA_NET_NS_PID, 0x7FFFFFFF)), "ESRCH -"),
    "moved to a descriptor that is none": (change(nla(IFLA_NET_NS_FD, 9999)), "EBADF -"),
    "moved to an id that is none": (change(nla(IFLA_TARGET_NETNSID, 7)), "EINVAL -"),
}  # fmt: skip


@scenario(69)
@pytest.mark.parametrize(("data", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_lo_is_not_to_be(subject: Subject, data: bytes, expected: str) -> None:
    subject.ask(up())
    before = subject.holds()

    assert brief_answer(subject.port(), data) == expected
    assert (subject.wait(0), subject.holds()) == ((), before)


@pytest.mark.usefixtures("by_root")
@scenario(69)
def test_lo_is_not_moved_to_another_namespace(alone: Subject) -> None:
    """This process is in another one.  To the model no process is known, so that there is nowhere to move it."""
    answer_of_it = "EINVAL The interface netns is immutable" if isinstance(alone, Running) else "ESRCH -"

    assert brief_answer(alone.port(), change(nla(IFLA_NET_NS_PID, os.getpid()))) == answer_of_it
    assert lo(alone).ifname == "lo"


@scenario(69)
def test_nothing_is_put_on_top_of_lo(alone: Subject) -> None:
    """The model has no macvlan at all."""
    macvlan = new(nla(IFLA_IFNAME, "mv"), nla(IFLA_LINK, 1), kind("macvlan"))
    answer_of_it = "EINVAL -" if isinstance(alone, Running) else "EOPNOTSUPP Unknown device type"

    assert brief_answer(alone.port(), macvlan) == answer_of_it


# --- alternative names -----------------------------------------------------------------------------------------------


def alternative(nlmsg_type: int, *names: str) -> bytes:
    listed = b"".join(nla(IFLA_ALT_IFNAME, name) for name in names)
    return nlmsg(nlmsg_type, link(nla(IFLA_PROP_LIST | NLA_F_NESTED, listed)))


def alternatives(subject: Subject) -> tuple[str, ...]:
    return lo(subject).altnames or ()


ADDING: Final[Mapping[str, tuple[tuple[str, ...], str, tuple[str, ...]]]] = {
    "one": (("other",), "ok", ("other",)),
    "two": (("one", "two"), "ok", ("one", "two")),
    "a long one": (("x" * 127,), "ok", ("x" * 127,)),
    "one too long": (("x" * 128,), "ERANGE Attribute failed policy validation @36 policy", ()),
    "its own name": (("lo",), "EEXIST -", ()),
    "one twice": (("one", "one"), "EEXIST -", ("one",)),
    "an empty one": (("",), "ok", ("",)),
    "none": ((), "ok", ()),
}


@scenario(71)
@pytest.mark.parametrize(("names", "expected", "has"), ADDING.values(), ids=ADDING.keys())
def test_alternative_names_are_added(
    subject: Subject, names: tuple[str, ...], expected: str, has: tuple[str, ...]
) -> None:
    """Those before a bad one stay, without a word."""
    subject.ask(up())

    assert brief_answer(subject.port(), alternative(RTM_NEWLINKPROP, *names)) == expected
    assert brief(subject.wait(0)) == ("L" if has and expected == "ok" else "")
    assert alternatives(subject) == has


@scenario(71)
def test_alternative_names_are_deleted(subject: Subject) -> None:
    subject.ask(up())
    port = subject.port()
    brief_answer(port, alternative(RTM_NEWLINKPROP, "one", "two"))
    subject.wait(0)

    assert brief_answer(port, alternative(RTM_DELLINKPROP, "one")) == "ok"
    assert brief(subject.wait(0)) == "L"
    assert alternatives(subject) == ("two",)
    assert brief_answer(port, alternative(RTM_DELLINKPROP, "one")) == "ENOENT -"
    assert brief_answer(port, alternative(RTM_DELLINKPROP, "lo")) == "EINVAL -"
    assert brief(subject.wait(0)) == ""


@scenario(71)
def test_while_down_nothing_is_told_of_them(subject: Subject) -> None:
    assert brief_answer(subject.port(), alternative(RTM_NEWLINKPROP, "one")) == "ok"
    assert (subject.wait(0), alternatives(subject)) == ((), ("one",))


@scenario(71)
def test_the_list_of_names_must_say_that_it_is_nested(subject: Subject) -> None:
    bare = nlmsg(RTM_NEWLINKPROP, link(nla(IFLA_PROP_LIST, nla(IFLA_ALT_IFNAME, "one"))))

    assert brief_answer(subject.port(), bare) == "EINVAL NLA_F_NESTED is missing @32 policy"


@scenario(71)
def test_a_device_is_found_by_its_alternative_name(subject: Subject) -> None:
    port = subject.port()
    brief_answer(port, alternative(RTM_NEWLINKPROP, "other"))

    by_name = nlmsg(RTM_GETLINK, link(nla(IFLA_ALT_IFNAME, "other"), index=0), 0)
    assert dict(attributes(answer(port, by_name).replies[0][2], 16))[IFLA_IFNAME] == b"lo\0"
    assert (
        brief_answer(port, nlmsg(RTM_NEWLINK, link(nla(IFLA_ALT_IFNAME, "other"), nla(IFLA_MTU, 1500), index=0)))
        == "ok"
    )
    assert lo(subject).mtu == 1500


@scenario(71)
def test_an_alternative_name_may_become_the_name_of_nobody_else(subject: Subject) -> None:
    port = subject.port()
    brief_answer(port, alternative(RTM_NEWLINKPROP, "other"))
    subject.wait(0)

    assert brief_answer(port, change(nla(IFLA_IFNAME, "other"))) == "EEXIST -"
    assert brief_answer(port, new(nla(IFLA_IFNAME, "other"), kind("ifb"))) == "EEXIST -"
    assert brief_answer(port, change(nla(IFLA_IFNAME, "lo9"))) == "ok"
    assert brief(subject.wait(0)) == f"L {NETCONF}"
    assert alternatives(subject) == ("other",)
