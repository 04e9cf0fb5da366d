"""What ethtool asks of lo: the answers, and what changing a feature takes along, as Debian's ethtool tells it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count

import pytest

from addrsvc import Linux
from addrsvc.daemon.run import booted
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, create_named, remove_named
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.ethtool import (
    EthtoolFeatures,
    ethtool_get_features,
    ethtool_get_link,
    ethtool_get_ts_info,
    ethtool_set_features,
)
from addrsvc.model.features import NETIF_F_LOOPBACK, NETIF_F_VLAN_CHALLENGED, netdev_features_strings
from addrsvc.model.rtnl import rtnl_lock
from addrsvc.model.structs import NetDevice
from addrsvc.netlink.ethtool_text import GROUPS, change_lines, feature_lines, features_named, link_lines, ts_info_lines
from addrsvc.netlink.messages import LinkMsg, Message
from addrsvc.uapi import IFLA_EVENT_FEATURES
from tests.fidelity.compare import normal
from tests.packets.running import RunningLo

NUMBERS = count(1)
CHANGEABLE = [
    name
    for bit, name in netdev_features_strings.items()
    if not ethtool_get_features(Linux().init_net.device("lo")).is_fixed(bit)
]


@pytest.fixture
def lo() -> NetDevice:
    return Linux().init_net.device("lo")


@pytest.fixture
def named(netns: NetNs) -> Iterator[str]:
    """A namespace that ethtool can be run in."""
    if shutil.which("ethtool") is None:
        pytest.skip("ethtool(8) is not installed")
    name = f"ethtool-test-{os.getpid()}-{next(NUMBERS)}"
    with create_named(name):
        try:
            yield name
        finally:
            remove_named(name)


def ethtool(netns: str, *words: str) -> list[str]:
    done = subprocess.run(["ip", "netns", "exec", netns, "ethtool", *words], capture_output=True, text=True)
    return done.stdout.splitlines()


def shown(lo: NetDevice) -> list[str]:
    features = ethtool_get_features(lo)
    fixed = ~features.available | features.never_changed
    return list(feature_lines(lo.name, netdev_features_strings, features.active, features.requested, fixed))


def switch(lo: NetDevice, word: str, *, on: bool) -> list[str]:
    mask = sum(1 << bit for bit in features_named(word, netdev_features_strings))
    with rtnl_lock(lo.machine):
        told = ethtool_set_features(lo, mask, mask if on else 0)
    return list(change_lines(netdev_features_strings, mask, told.unmet, told.wanted, told.changed, told.active))


def test_lo_has_the_four_masks_of_the_reference_release(lo: NetDevice) -> None:
    assert ethtool_get_features(lo) == EthtoolFeatures(
        0x0A00000E401D4800, 0x0000000E401D4800, 0x0000052E401D4C69, 0x400
    )


def test_the_list_is_ethtool_s(lo: NetDevice, named: str) -> None:
    assert shown(lo) == ethtool(named, "-k", "lo")


@pytest.mark.parametrize("word", [*CHANGEABLE, *(group.short for group in GROUPS if group.short != "ufo")])
def test_a_switch_takes_along_what_it_does_in_the_running_kernel(lo: NetDevice, named: str, word: str) -> None:
    for on in (False, True, False):
        told = ethtool(named, "-K", "lo", word, "on" if on else "off")
        assert switch(lo, word, on=on) == told
        assert shown(lo) == ethtool(named, "-k", "lo")


def test_one_switch_after_the_other(lo: NetDevice, named: str) -> None:
    for word, on in {"tso": False, "gso": False, "tx-tcp6-segmentation": True}.items():
        ethtool(named, "-K", "lo", word, "on" if on else "off")
        switch(lo, word, on=on)

    assert shown(lo) == ethtool(named, "-k", "lo")


def test_what_never_changes_is_refused(lo: NetDevice) -> None:
    with rtnl_lock(lo.machine), pytest.raises(KernelError, match="attempt to change non-ethtool features"):
        ethtool_set_features(lo, NETIF_F_VLAN_CHALLENGED, 0)


def test_what_is_fixed_stays_and_is_told_as_unmet(lo: NetDevice) -> None:
    with rtnl_lock(lo.machine):
        told = ethtool_set_features(lo, NETIF_F_LOOPBACK, 0)

    assert (told.unmet, told.wanted, told.changed) == (NETIF_F_LOOPBACK, 0, 0)


def test_there_is_a_link_while_lo_is_up(named: str) -> None:
    net: Namespace = Linux().init_net
    lo = net.device("lo")
    down = ethtool_get_link(lo)
    net.link_set("lo", up=True)

    assert (down, ethtool_get_link(lo)) == (0, 1)
    assert ethtool(named, "lo") == ["Settings for lo:", "\tLink detected: no"]
    subprocess.run(["ip", "-n", named, "link", "set", "lo", "up"], check=True)
    assert ethtool(named, "lo") == ["Settings for lo:", "\tLink detected: yes"]


def test_time_stamps_are_software_s(lo: NetDevice, named: str) -> None:
    assert list(ts_info_lines("lo", ethtool_get_ts_info(lo))) == ethtool(named, "-T", "lo")


def test_a_device_without_ethtool_operations_knows_of_no_link_but_has_the_time_stamps_of_arrival(named: str) -> None:
    dev = Linux().init_net.link_add("b0")
    with pytest.raises(KernelError, match="EOPNOTSUPP"):
        ethtool_get_link(dev)
    if subprocess.run(["ip", "-n", named, "link", "add", "b0", "type", "ifb"], capture_output=True).returncode:
        pytest.skip("the running kernel has no ifb devices")

    assert list(link_lines("b0", None)) == ethtool(named, "b0")
    assert list(ts_info_lines("b0", ethtool_get_ts_info(dev))) == ethtool(named, "-T", "b0")


class RunningSwitches:
    """lo of the running kernel: switched, and listened to."""

    def __init__(self, netns: NetNs, kernel: RtnlKernel) -> None:
        self._lo, self._watch = RunningLo(netns), kernel.watch()

    def __call__(self, mask: int, wanted: int) -> list[Message]:
        self._lo.features(mask, wanted)
        return list(normal(self._watch))

    def close(self) -> None:
        self._lo.close()
        self._watch.close()


@pytest.mark.needs_cap_sys_admin  # its packet socket sets SO_RCVBUFFORCE
@pytest.mark.parametrize("up", [False, True])
def test_what_is_said_of_a_switch_is_the_same_on_both_kernels(netns: NetNs, up: bool) -> None:
    linux = Linux()
    with RtnlKernel(netns) as kernel:
        for both in (kernel, linux.init_net):
            both.link_set("lo", up=up)
        running, watch = RunningSwitches(netns, kernel), linux.watch("init_net")
        try:
            for bit in [*range(64), 16, 20, 11]:
                for on in (False, True, True):
                    if bit == NETIF_F_VLAN_CHALLENGED.bit_length() - 1:
                        continue
                    linux.init_net.features_set("lo", 1 << bit, on << bit)
                    said = list(normal(watch))
                    assert said == running(1 << bit, on << bit), (bit, on)
                    assert all(isinstance(msg, LinkMsg) and msg.event == IFLA_EVENT_FEATURES for msg in said)
        finally:
            running.close()


# --- the command line -------------------------------------------------------------------------------------------------


def addrsvc(*words: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-m", "addrsvc", "ethtool", "--once", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("option", ["-k", "-T"])
def test_the_command_prints_what_ethtool_prints(named: str, option: str) -> None:
    assert addrsvc(option, "lo") == (0, ethtool(named, option, "lo"), "")


def test_the_command_shows_the_link(named: str) -> None:
    subprocess.run(["ip", "-n", named, "link", "set", "lo", "up"], check=True)

    assert addrsvc("lo") == (0, ethtool(named, "lo"), "")


def test_the_command_tells_the_event_of_a_switch_and_then_what_ethtool_tells(named: str) -> None:
    code, lines, _ = addrsvc("-K", "lo", "tx-tcp6-segmentation", "off", "tx-tcp-segmentation", "off")
    told = ethtool(named, "-K", "lo", "tx-tcp6-segmentation", "off", "tx-tcp-segmentation", "off")

    assert (code, lines[0]) == (0, "init_net: NETDEV_FEAT_CHANGE  lo")
    assert lines[-len(told) :] == told != []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-K", "lo", "loopback", "off"], 3, ""),
        (["-K", "lo", "foo", "off"], 1, "Error: foo: bit name not found (did you mean ufo?)\n"),
        (["-K", "lo", "ufo", "off"], 1, "Error: Could not change any device features\n"),
        (["-K", "lo", "vlan-challenged", "on"], 2, "Error: attempt to change non-ethtool features.\n"),
        (["-K", "lo", "tso"], 1, "Error: -K: each feature wants an on or off behind it\n"),
        (["-K", "lo", "tso", "maybe"], 1, "Error: tso: 'maybe' is neither on nor off\n"),
        (["-K", "lo"], 1, "Error: -K: each feature wants an on or off behind it\n"),
        (["lo", "tso", "off"], 1, "Error: not understood: tso off\n"),
        (["eth0"], 1, 'Error: Cannot find device "eth0"\n'),
    ],
)
def test_the_command_tells_what_it_cannot_do(words: list[str], code: int, says: str) -> None:
    assert addrsvc(*words)[::2] == (code, says)


def test_the_service_has_the_features_one_by_one() -> None:
    service = booted()
    service.ask("features_set", {"features": {"tso": "off", "gro": "on"}})
    answer = service.ask("features", {})["features"]
    assert isinstance(answer, list)
    by_name = {row["name"]: row for row in answer}

    assert by_name["tx-tcp-segmentation"] == {
        "name": "tx-tcp-segmentation", "active": False, "requested": False, "fixed": False,
    }  # fmt: skip
    assert by_name["loopback"] == {"name": "loopback", "active": True, "requested": False, "fixed": True}
