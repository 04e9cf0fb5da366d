"""Injection: any event, by name or number, with the info that belongs to it; what is no request changes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc import Linux
from addrsvc.errors import ControlError
from addrsvc.injection import INFO_OF_EVENT, make_info, parse_event
from addrsvc.linux import Namespace
from addrsvc.model.addrconf import ON_NETDEV_EVENT
from addrsvc.model.notifier import NOTIFY_OK, notifier_from_errno
from addrsvc.model.structs import (
    NetDevice,
    NetdevNotifierChangeInfo,
    NetdevNotifierChangeupperInfo,
    NetdevNotifierInfo,
    NetdevNotifierInfoExt,
    NetdevNotifierPreChangeaddrInfo,
)
from addrsvc.uapi import IFF_DEBUG, IFF_NOARP, NETDEV_CHANGE, NETDEV_CHANGEMTU, NetdevEvent
from tests.model.ears import Ear, listen, said

MAC = bytes.fromhex("020000000001")


@pytest.fixture
def linux() -> Linux:
    linux = Linux()
    linux.init_net.link_set("lo", up=True)
    linux.init_net.link_add("x0", address=MAC)
    return linux


@pytest.fixture
def net(linux: Linux) -> Namespace:
    return linux.init_net


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", NetdevEvent)
def test_every_event_can_be_named_or_numbered(linux: Linux, net: Namespace, event: NetdevEvent) -> None:
    short = event.name.removeprefix("NETDEV_")
    for spelling in (event.name, short, short.lower(), f" {event.name.lower()} ", int(event), str(int(event)), event):
        assert parse_event(spelling) is event
    story = listen(linux)
    net.inject(event, "x0")

    assert story.heard().split(", ")[-1 if event not in (2, 10) else 0] == f"{short} x0"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("NETDEV_UPP", "did you mean NETDEV_UP?"), ("chnge", "did you mean NETDEV_CHANGE?"), ("", "unknown event ''"),
        ("xyzzy", "unknown event 'xyzzy'"), (0, "no event has number 0; they go from 1 to 40"),
        (41, "no event has number 41"), ("99", "no event has number 99"), (-1, "no event has number -1"),
        ("²", "unknown event '²'"), ("\u0661", "unknown event"), ("1.0", "unknown event '1.0'"),
        ("NETDEV_NETDEV_UP", "unknown event"),
    ],
)  # fmt: skip
def test_an_event_that_is_none_is_named_with_what_comes_nearest(event: str | int, text: str) -> None:
    with pytest.raises(ControlError) as refused:
        parse_event(event)
    assert str(refused.value).startswith("event: ")
    assert text in str(refused.value)


# --- info ------------------------------------------------------------------------------------------------------------


def heard(linux: Linux) -> Ear:
    ear = Ear()
    linux.register_netdevice_notifier(ear)
    ear.infos.clear()
    return ear


@pytest.mark.parametrize("flags", ["NOARP,DEBUG", "noarp, IFF_DEBUG", IFF_NOARP | IFF_DEBUG, "0x84", "132"])
def test_change_tells_the_flags_that_changed_by_name_or_number(linux: Linux, net: Namespace, flags: object) -> None:
    ear = heard(linux)
    net.inject("CHANGE", "x0", flags_changed=flags)
    (info,) = ear.infos

    assert isinstance(info, NetdevNotifierChangeInfo)
    assert (info.dev.name, info.flags_changed, info.extack) == ("x0", IFF_NOARP | IFF_DEBUG, None)


@pytest.mark.parametrize(("given_", "mtu"), [({}, 1500), ({"mtu": 9000}, 9000), ({"mtu": "0x100"}, 256)])
def test_changemtu_tells_the_old_mtu_which_by_default_is_the_devices(
    linux: Linux, net: Namespace, given_: dict[str, object], mtu: int
) -> None:
    ear = heard(linux)
    net.inject("CHANGEMTU", "x0", **given_)
    (info,) = ear.infos

    assert isinstance(info, NetdevNotifierInfoExt)
    assert (info.mtu, net.device("x0").mtu) == (mtu, 1500)


@pytest.mark.parametrize(
    ("given_", "addr"), [({}, MAC), ({"dev_addr": "02:00:00:00:00:09"}, MAC[:5] + b"\x09"), ({"dev_addr": MAC}, MAC)]
)
def test_pre_changeaddr_tells_the_address_to_come(
    linux: Linux, net: Namespace, given_: dict[str, object], addr: bytes
) -> None:
    ear = heard(linux)
    net.inject("PRE_CHANGEADDR", "x0", **given_)
    (info,) = ear.infos

    assert isinstance(info, NetdevNotifierPreChangeaddrInfo)
    assert (info.dev_addr, net.device("x0").dev_addr) == (addr, MAC)


@pytest.mark.parametrize("event", ["CHANGEUPPER", "PRECHANGEUPPER"])
def test_changeupper_tells_the_upper_device_and_how(linux: Linux, net: Namespace, event: str) -> None:
    ear = heard(linux)
    net.inject(event, "x0", upper_dev="lo", master="yes", linking=True)
    (info,) = ear.infos

    assert isinstance(info, NetdevNotifierChangeupperInfo)
    assert (info.upper_dev, info.master, info.linking) == (net.device("lo"), True, True)


@pytest.mark.parametrize("event", [event for event in NetdevEvent if event not in INFO_OF_EVENT])
def test_all_other_events_tell_the_device_and_nothing_else(net: Namespace, event: NetdevEvent) -> None:
    info = make_info(event, net.device("x0"), {})

    assert (type(info), info.dev.name) == (NetdevNotifierInfo, "x0")


# --- what is no request -----------------------------------------------------------------------------------------------

BAD: list[tuple[str | int, str, dict[str, object], str]] = [
    ("NO_SUCH", "lo", {}, "event: unknown event 'NO_SUCH'"),
    (41, "lo", {}, "event: no event has number 41"),
    ("UP", "x9", {}, "dev: no device 'x9' in namespace init_net; there are lo, x0"),
    ("UP", "", {}, "dev: no device ''"),
    ("UP", "lo", {"mtu": 5}, "mtu: NETDEV_UP has no info"),
    ("CHANGE", "lo", {"mtu": 5}, "mtu: NETDEV_CHANGE has only flags_changed"),
    ("CHANGE", "lo", {"flags_changed": "NOARP,NOSUCH"}, "flags_changed: unknown flag 'NOSUCH'"),
    ("CHANGE", "lo", {"flags_changed": "NOAPR"}, "did you mean NOARP?"),
    ("CHANGE", "lo", {"flags_changed": ""}, "flags_changed: unknown flag ''"),
    ("CHANGE", "lo", {"flags_changed": -1}, "flags_changed: -1 does not fit 32 bits"),
    ("CHANGE", "lo", {"flags_changed": 2**32}, "does not fit 32 bits"),
    ("CHANGE", "lo", {"flags_changed": None}, "flags_changed: unknown flag 'None'"),
    ("CHANGE", "lo", {"flags_changed": "1x"}, "flags_changed: '1x' is not a number"),
    ("CHANGEMTU", "lo", {"mtu": "many"}, "mtu: 'many' is not a number"),
    ("CHANGEMTU", "lo", {"mtu": -1}, "mtu: -1 does not fit 32 bits"),
    ("CHANGEMTU", "lo", {"mtu": 1.5}, "mtu: 1.5 is not a number"),
    ("CHANGEMTU", "lo", {"mtu": True}, "mtu: True is not a number"),
    ("CHANGEMTU", "lo", {"mtu": None}, "mtu: None is not a number"),
    ("CHANGEMTU", "lo", {"mtu": 5, "more": 1}, "more: NETDEV_CHANGEMTU has only mtu"),
    ("PRE_CHANGEADDR", "lo", {"dev_addr": "zz"}, "dev_addr: 'zz' is no hardware address"),
    ("PRE_CHANGEADDR", "lo", {"dev_addr": "02:00"}, "dev_addr: lo has hardware addresses of 6 bytes"),
    ("PRE_CHANGEADDR", "lo", {"dev_addr": b""}, "dev_addr: lo has hardware addresses of 6 bytes"),
    ("CHANGEUPPER", "x0", {"upper_dev": "x9"}, "upper_dev: no device 'x9' in namespace init_net"),
    ("CHANGEUPPER", "x0", {"master": "perhaps"}, "master: 'perhaps' is neither yes nor no"),
    ("CHANGEUPPER", "x0", {"linking": 2}, "linking: 2 is neither yes nor no"),
]


@pytest.mark.parametrize(("event", "dev", "info", "text"), BAD)
def test_what_is_no_request_is_named_and_changes_nothing(
    linux: Linux, net: Namespace, event: str | int, dev: str, info: dict[str, object], text: str
) -> None:
    story = listen(linux)
    before = net.dump()
    with pytest.raises(ControlError) as refused:
        net.inject(event, dev, **info)

    assert text in str(refused.value)
    assert (net.dump(), story.heard(), linux.next_expiry()) == (before, "", None)
    net.inject("REBOOT", "lo")
    assert story.heard() == "L(0x0), REBOOT lo"


# --- injecting only calls the chain -----------------------------------------------------------------------------------


def state(dev: NetDevice) -> tuple[object, ...]:
    """The device, without what protocols keep with it."""
    return tuple(getattr(dev, name) for name in dev.__slots__ if name not in _OF_PROTOCOLS)


_OF_PROTOCOLS = ("ip_ptr", "ip6_ptr", "fib6_linkdown_mark")


@pytest.mark.parametrize("event", NetdevEvent)
@pytest.mark.parametrize("name", ["lo", "x0"])
def test_the_device_itself_stays_as_it_is(net: Namespace, name: str, event: NetdevEvent) -> None:
    before = state(net.device(name))
    net.inject(event, name)

    assert state(net.device(name)) == before


@pytest.mark.parametrize("event", [e for e in NetdevEvent if e not in (*ON_NETDEV_EVENT, 1, 2)])
def test_an_event_that_no_callback_acts_on_changes_nothing_at_all(net: Namespace, event: NetdevEvent) -> None:
    before = net.dump()
    net.inject(event, "lo")

    assert net.dump() == before


def test_an_injected_down_takes_the_addresses_of_an_up_lo_and_an_injected_up_brings_them_back(
    linux: Linux, net: Namespace
) -> None:
    """Callbacks act on what they hear; the device was up all the time, and no RTM_NEWLINK says otherwise."""
    linux.effects()
    net.inject("DOWN", "lo")
    assert said(linux) == "M4-224.0.0.1 R-loc:::1 A-::1"
    net.inject("UP", "lo")
    assert said(linux) == "M4+224.0.0.1 R4+brd:127.255.255.255 A+::1 R+loc:::1 I"


def test_an_injected_up_of_a_device_that_is_down_gives_it_no_address_of_ipv6(linux: Linux) -> None:
    blue = linux.add_net("blue")
    linux.effects()
    blue.inject("UP", "lo")

    assert said(linux) == "A4+127.0.0.1 R4+loc:127.0.0.1 M4+224.0.0.1"


def test_the_answer_of_the_chain_is_given_back(linux: Linux, net: Namespace) -> None:
    assert net.inject("REBOOT", "lo") == NOTIFY_OK
    linux.register_netdevice_notifier(Ear({"REBOOT lo": 16}))
    assert net.inject("REBOOT", "lo") == notifier_from_errno(-16)
    assert net.inject(NETDEV_CHANGE, "lo") == NOTIFY_OK


def test_the_lock_is_free_again_though_a_callback_failed(linux: Linux, net: Namespace) -> None:
    def fail(event: int, info: NetdevNotifierInfo) -> None:
        if event == NETDEV_CHANGEMTU:
            raise ZeroDivisionError

    linux.register_netdevice_notifier(fail)
    with pytest.raises(ZeroDivisionError):
        net.inject("CHANGEMTU", "lo")

    assert (linux.machine.rtnl_held, net.inject("CHANGE", "lo")) == (False, NOTIFY_OK)


@given(st.lists(st.tuples(st.sampled_from(NetdevEvent), st.sampled_from(["lo", "x0"])), max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_order_of_events_breaks_the_model_nor_the_device(events: list[tuple[NetdevEvent, str]]) -> None:
    linux = Linux()
    net = linux.init_net
    net.link_add("x0")
    net.link_set("lo", up=True)
    before = [state(net.device(name)) for name in net.links()]
    for event, dev in events:
        net.inject(event, dev)
    assert [state(net.device(name)) for name in net.links()] == before

    for dev in ("lo", "x0"):
        for up in (False, True):
            net.link_set(dev, up=up)
    assert [str(a.network) for a in net.addresses("lo") if a.network.version == 6] == ["::1/128"]
