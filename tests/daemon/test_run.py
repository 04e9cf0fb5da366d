"""`addrsvc run` and its kin on namespaces of the running kernel: exit codes, one mirror for each, ghosts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NETNS_RUN_DIR, create_named, open_netns, remove_named
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Sysctl
from addrsvc.uapi import IFF_UP, RTM_DELADDR
from tests.test_cli import Background, run
from tests.waiting import until

LOOPBACK = bytes(15) + b"\x01"
DISABLE = Sysctl("net.ipv6.conf.lo.disable_ipv6", "1")


def has_loopback(kernel: Kernel) -> bool:
    return any(isinstance(msg, AddrMsg) and msg.address == LOOPBACK and not msg.multicast for msg in kernel.dump())


@pytest.fixture
def name(cap_sys_admin: None) -> Iterator[str]:
    """A namespace below /run/netns that nobody else uses."""
    name = f"addrsvc-run-{os.getpid()}"
    create_named(name).close()
    yield name
    if (NETNS_RUN_DIR / name).exists():
        remove_named(name)


@pytest.fixture
def inside(name: str) -> Iterator[RtnlKernel]:
    with open_netns(name) as netns, RtnlKernel(netns) as kernel:
        yield kernel


@pytest.fixture
def service(tmp_path: Path, name: str) -> Iterator[Background]:
    background = Background(tmp_path / "control", "--netns", name)
    yield background
    background.end()


# --- exit codes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["run", "--once"], ["plan", "--once"]], ids=" ".join)
def test_what_could_not_be_done_is_told_and_ends_with_3(command: list[str], name: str, inside: RtnlKernel) -> None:
    inside.request(DISABLE)
    done = run(*command, "--netns", name)

    assert done.returncode == 3
    assert "cannot be sent: lo has no ::1/128: IPv6 is disabled on lo (disable_ipv6=1)" in done.stdout


def test_what_could_be_done_ends_with_0(name: str) -> None:
    assert [run(command, "--once", "--netns", name).returncode for command in ("plan", "run", "run", "plan")] == [0] * 4


def test_the_service_is_asked_for_the_same(service: Background, inside: RtnlKernel) -> None:
    assert (service("converge").returncode, service("plan").returncode) == (0, 0)
    inside.request(DISABLE)
    looked = service("converge")

    assert (looked.returncode, service("plan").returncode) == (3, 3)
    assert "IPv6 is disabled on lo" in looked.stdout


# --- one mirror for each namespace ----------------------------------------------------------------------------------


def test_two_names_of_one_namespace_are_refused(name: str) -> None:
    path = str(NETNS_RUN_DIR / name)
    done = run("run", "--once", "--netns", name, "--netns", path)

    assert (done.returncode, done.stderr) == (
        1,
        f"Error: netns: {name} and {path} are one and the same network namespace\n",
    )


def test_one_name_given_twice_is_one_namespace(name: str) -> None:
    done = run("run", "--once", "--netns", name, "--netns", name)

    assert done.returncode == 0
    assert done.stdout.count(f"\n{name}: 1 message sent") == 1


def test_a_second_service_on_one_namespace_is_refused_and_only_looking_is_not(service: Background, name: str) -> None:
    done = run("run", "--once", "--netns", str(NETNS_RUN_DIR / name))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"is mirrored onto already by process {service.process.pid}\n")
    assert run("plan", "--once", "--netns", name).returncode == 0


# --- the one namespace that is meant ----------------------------------------------------------------------------------


def test_without_net_the_one_mirrored_namespace_is_meant(service: Background, inside: RtnlKernel) -> None:
    assert service("link", "set", "lo", "mtu", "1500").returncode == 0
    assert [msg.mtu for msg in inside.dump() if isinstance(msg, LinkMsg)] == [1500]
    assert "mtu 1500" in service("addr", "show", "dev", "lo").stdout
    assert service("sysctl", "net.ipv6.conf.lo.disable_ipv6").stdout == "net.ipv6.conf.lo.disable_ipv6 = 0\n"
    assert "mtu 65536" in service("addr", "show", "--net", "init_net").stdout


# --- what the host does -----------------------------------------------------------------------------------------------


def test_an_mtu_that_the_host_has_changed_is_changed_back_by_an_operation(
    service: Background, inside: RtnlKernel
) -> None:
    inside.request(LinkMsg(ifi_index=1, mtu=1400))
    assert service("link", "set", "lo", "mtu", "65536").returncode == 0

    assert [msg.mtu for msg in inside.dump() if isinstance(msg, LinkMsg)] == [65536]


def test_a_live_rename_is_followed(service: Background, inside: RtnlKernel) -> None:
    inside.request(LinkMsg(ifi_index=1, ifname="loop"))

    until(lambda: "loop:" in service("link", "show").stdout)
    inside.request(LinkMsg(ifi_index=1, ifi_change=IFF_UP))
    until(lambda: has_loopback(inside))


def test_a_namespace_that_was_deleted_and_made_again_is_served(service: Background, name: str) -> None:
    remove_named(name)
    until(lambda: f"divergences {name} is gone" in service("status").stdout)
    with create_named(name) as netns, RtnlKernel(netns) as inside:
        until(lambda: has_loopback(inside))
        inside.request(AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=LOOPBACK))
        until(lambda: has_loopback(inside))

    assert "divergences none" in service("status").stdout
