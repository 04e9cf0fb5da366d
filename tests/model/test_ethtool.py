"""What ethtool asks of lo: the answers, and what changing a feature takes along, as Debian's ethtool tells it."""

import shutil
import subprocess
from collections.abc import Iterator
from itertools import count

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.netns import NetNs, create_named, remove_named
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
from addrsvc.netlink.ethtool_text import GROUPS, change_lines, feature_lines, features_named, ts_info_lines

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
    name = f"ethtool-test-{next(NUMBERS)}"
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


def test_a_device_without_ethtool_operations_says_so() -> None:
    dev = Linux().init_net.link_add("eth0")

    for ask in (ethtool_get_link, ethtool_get_ts_info):
        with pytest.raises(KernelError, match="EOPNOTSUPP"):
            ask(dev)
