"""net.ipv4.conf.* and net.ipv6.conf.*: what each setting takes, and what writing it sets off."""

from errno import EACCES, EINVAL, EIO, ENOENT
from pathlib import Path

import pytest

from addrsvc import Linux
from addrsvc.errors import KernelError
from addrsvc.linux import Namespace
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.operations import Operations
from addrsvc.mirror.rtnl import RtnlKernel
from addrsvc.model.addrconf_sysctl import DEVCONF, DEVCONF_DFLT
from addrsvc.model.devinet_sysctl import DEVCONF as DEVCONF4
from addrsvc.model.sysctl import sysctl_names
from addrsvc.netlink.messages import Inet6LinkInfo, LinkMsg, Message, NetconfMsg, Sysctl
from addrsvc.uapi import IN6_ADDR_GEN_MODE_STABLE_PRIVACY
from tests.fidelity.asks import LO, add, disable_ipv6, down, ipv6_sysctl, mtu, up
from tests.fidelity.compare import first_difference
from tests.fidelity.notation import brief, refusal
from tests.model.ears import messages

SECRET = "2001:db8::1:2:3:4"


# --- against the running kernel --------------------------------------------------------------------------------------


@pytest.mark.needs_cap_sys_admin  # net.ipv6.route is hidden from the namespaces of user namespaces
def test_every_setting_reads_as_on_the_running_kernel(net: Namespace, rtnl: RtnlKernel) -> None:
    names = [name for name in sysctl_names(net.net) if not name.startswith("net.core.")]

    assert len(names) == 3 * len(DEVCONF) + 1 + 3 * len(DEVCONF4) + 1
    assert {n: net.sysctl(n) for n in names} == {n: rtnl.read_sysctl(n) for n in names}


def test_a_setting_is_there_for_all_default_and_every_device_with_ipv6(net: Namespace) -> None:
    net.link_add("x.0")
    net.link_add("small", mtu=1000)
    names = sysctl_names(net.net)

    where = {name.removeprefix("net.ipv6.conf.").rpartition(".")[0] for name in names if "ipv6.conf" in name}
    where4 = {name.removeprefix("net.ipv4.conf.").rpartition(".")[0] for name in names if "ipv4.conf" in name}
    assert where == {"all", "default", "lo", "x/0"}
    assert where4 == where | {"small"}
    assert net.sysctl("net.ipv6.conf.x/0.accept_dad") == "1"


@pytest.mark.needs_cap_sys_admin
def test_what_bounds_receiving_is_the_machines_and_only_its_first_namespace_shows_it(
    linux: Linux, rtnl: RtnlKernel
) -> None:
    net, other = linux.init_net, linux.add_net("other")
    names = [name for name in sysctl_names(net.net) if name.startswith("net.core.")]

    assert {name: net.read_sysctl(name) for name in names} == {
        "net.core.dev_weight": "64", "net.core.dev_weight_rx_bias": "1", "net.core.dev_weight_tx_bias": "1",
        "net.core.netdev_budget": "300", "net.core.netdev_max_backlog": "1000",
    }  # fmt: skip
    for name in names:
        assert Path("/proc/sys", *name.split(".")).is_file()
        for elsewhere in (other, rtnl):
            with pytest.raises(KernelError) as refused:
                elsewhere.read_sysctl(name)
            assert refused.value.errno == ENOENT


@pytest.mark.parametrize(
    ("leaf", "text", "takes"),
    [(leaf, text, taken) for leaf in ("dev_weight", "dev_weight_rx_bias", "dev_weight_tx_bias")
     for text, taken in (("0", ""), ("-1", ""), ("7", "7"), ("5 6", "5"), ("abc", ""), ("2147483648", ""))]
    + [(leaf, text, taken) for leaf in ("netdev_budget", "netdev_max_backlog")
       for text, taken in (("0", "0"), ("-1", "-1"), ("7", "7"), ("5 6", "5"), ("abc", ""), ("2147483648", ""))],
)  # fmt: skip
def test_what_bounds_receiving_takes_what_was_measured(linux: Linux, leaf: str, text: str, takes: str) -> None:
    net, name = linux.init_net, f"net.core.{leaf}"
    if takes:
        net.request(Sysctl(name, text))
        assert net.read_sysctl(name) == takes
        return
    with pytest.raises(KernelError) as refused:
        net.request(Sysctl(name, text))
    assert refused.value.errno == EINVAL


NUMBERS = (
    -(2**31) - 1, -(2**31), -8589935, -8589934, -2, -1, 0, 1, 2, 3, 255, 256, 1279, 1280, 65535, 65536, 65537, 8589934,
    8589935, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**64 - 1,
)  # fmt: skip


@pytest.mark.parametrize("where", ["lo", "default", "all"])
def test_every_setting_takes_and_refuses_the_same_numbers_on_both_kernels(
    net: Namespace, rtnl: RtnlKernel, where: str
) -> None:
    for name in (f"net.ipv{v}.conf.{where}.{leaf}" for v, conf in ((6, DEVCONF), (4, DEVCONF4)) for leaf in conf):
        asks = [Sysctl(name, str(number)) for number in NUMBERS]
        modelled, real = [answer_of(net, ask) for ask in asks], [answer_of(rtnl, ask) for ask in asks]

        assert (name, modelled) == (name, real)
        assert (name, net.sysctl(name)) == (name, rtnl.read_sysctl(name))


def answer_of(kernel: Kernel, ask: Message) -> str:
    try:
        kernel.request(ask)
    except KernelError as error:
        return refusal(error)
    return ""


TEXTS = [
    ("1", 1), (" 1 ", 1), ("\t1\n", 1), ("\r1", 1), ("0x1f", 31), ("0X1F", 31), ("017", 15), ("1 0", 1), ("7\t8", 7),
    ("-1", -1), ("-0x2", -2), ("00", 0), ("", None),
]  # fmt: skip
NO_NUMBERS = [
    "x", "1x", "1_0", "0b1", "0o7", "+1", "--1", "- 1", "08", "0x", "0x1g", "1,2", "1\r", "1\0", "٣", " ", "\n", "-",
    "99999999999999999999",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), TEXTS)
def test_the_first_number_of_a_text_counts(kernel: Operations, text: str, value: int | None) -> None:
    kernel.request(ipv6_sysctl("max_addresses", 77))
    kernel.request(ipv6_sysctl("max_addresses", text))

    name = "net.ipv6.conf.lo.max_addresses"
    assert kernel.read_sysctl(name) == str(77 if value is None else value)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_a_text_that_does_not_begin_with_a_number_is_refused(kernel: Kernel, text: str) -> None:
    assert answer_of(kernel, ipv6_sysctl("max_addresses", text)) == "EINVAL -"


REFUSALS = [
    (ipv6_sysctl("no_such_setting", 1), "ENOENT -"),
    (ipv6_sysctl("disable_ipv6", 1, "no_such_device"), "ENOENT -"),
    (Sysctl("net.ipv6.conf.disable_ipv6", "1"), "ENOENT -"),
    (ipv6_sysctl("mc_forwarding", 1), "EACCES -"),
    (ipv6_sysctl("mtu", 1279), "EINVAL -"),
    (ipv6_sysctl("mtu", 65537), "EINVAL -"),
    (ipv6_sysctl("addr_gen_mode", 4), "EINVAL -"),
    (ipv6_sysctl("addr_gen_mode", 2), "EINVAL -"),
    (ipv6_sysctl("stable_secret", "x"), "EIO -"),
    (ipv6_sysctl("stable_secret", SECRET, "all"), "EIO -"),
    (Sysctl("net.ipv4.conf.lo.mc_forwarding", "1"), "EACCES -"),
    (Sysctl("net.ipv4.conf.lo.rp_filter", "x"), "EINVAL -"),
    (Sysctl("net.ipv4.ip_forward", "x"), "EINVAL -"),
    (Sysctl("net.ipv4.conf.no_such_device.rp_filter", "1"), "ENOENT -"),
    (Sysctl("net.ipv4.conf.lo.no_such_setting", "1"), "ENOENT -"),
]


@pytest.mark.parametrize(
    ("ask", "answer"), REFUSALS, ids=lambda it: it.name + it.value if isinstance(it, Sysctl) else ""
)
def test_both_kernels_refuse_alike_and_change_nothing(kernel: Kernel, ask: Sysctl, answer: str) -> None:
    before = kernel.dump()

    assert answer_of(kernel, ask) == answer
    assert kernel.dump() == before


def sysctls(leaf: str, *values: int, dev: str = "lo") -> tuple[Message, ...]:
    return tuple(ipv6_sysctl(leaf, value, dev) for value in values)


def ipv4(leaf: str, *values: str, dev: str = "lo") -> tuple[Message, ...]:
    return tuple(Sysctl(f"net.ipv4.conf.{dev}.{leaf}", value) for value in values)


HIDDEN = (up(), add("2001:db8::1/64"), Sysctl("net.ipv6.route.skip_notify_on_dev_down", "2"),
    Sysctl("net.ipv6.route.skip_notify_on_dev_down", "1"), disable_ipv6(1), disable_ipv6(0), add("2001:db8::1/64"),
    down())  # fmt: skip
SCRIPTS: dict[str, tuple[Message, ...]] = {
    **{f"{leaf} of {dev}": (up(), add("2001:db8::1/64"), *sysctls(leaf, 1, 1, 2, 0, 0, dev=dev))
        for leaf in ("disable_ipv6", "forwarding", "proxy_ndp", "ignore_routes_with_linkdown")
        for dev in ("lo", "all", "default")},
    **{f"addr_gen_mode of {dev}": (up(), add("2001:db8::1/64"), *sysctls("addr_gen_mode", 1, 1, 3, 0, 2, dev=dev))
        for dev in ("lo", "all", "default")},
    "a secret sets the mode": (up(), ipv6_sysctl("stable_secret", SECRET), *sysctls("addr_gen_mode", 0, 2),
        LinkMsg(ifi_index=LO, inet6=Inet6LinkInfo(addr_gen_mode=2))),
    "a default secret sets the mode everywhere": (up(), ipv6_sysctl("stable_secret", SECRET, "default"), down(), up()),
    "lo's mtu is reset by up": (up(), *sysctls("mtu", 1280, 65536, 1400), down(), up()),
    **{f"IPv4 settings of {dev}": tuple(ask for leaf in DEVCONF4 for ask in ipv4(leaf, "1", "1", "2", "", "x", dev=dev))
        for dev in ("lo", "all", "default")},
    "ip_forward": (Sysctl("net.ipv4.ip_forward", "1"), *ipv4("forwarding", "0"), Sysctl("net.ipv4.ip_forward", "2")),
    "IPv4 comes back with the settings of default": (*ipv4("rp_filter", "1", dev="default"), *ipv4("rp_filter", "2"),
        mtu(67), *ipv4("rp_filter", "3"), mtu(68), *ipv4("rp_filter", "4", dev="default")),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_writing_sets_off_the_same_on_both_kernels(netns: NetNs, script: tuple[Message, ...]) -> None:
    assert str(first_difference(script) or "") == ""


@pytest.mark.needs_cap_sys_admin  # net.ipv6.route is hidden from the namespaces of user namespaces
def test_routes_may_go_without_a_word_on_both_kernels(netns: NetNs) -> None:
    assert str(first_difference(HIDDEN) or "") == ""


# --- the model alone -------------------------------------------------------------------------------------------------


def test_only_new_devices_follow_default(net: Namespace) -> None:
    net.link_add("old")
    net.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    net.link_add("new")

    assert [net.sysctl(f"net.ipv6.conf.{dev}.disable_ipv6") for dev in ("old", "new")] == ["0", "1"]
    assert {leaf for leaf in DEVCONF if DEVCONF[leaf] != DEVCONF_DFLT[leaf]} == {"accept_dad"}


def test_switching_all_goes_through_the_devices_in_order_of_registration(linux: Linux, net: Namespace) -> None:
    net.link_add("x0")
    linux.effects()
    net.sysctl("net.ipv6.conf.all.forwarding", 1)

    assert [m.ifindex for m in messages(linux) if isinstance(m, NetconfMsg)] == [-2, 1, 2, -1]


def test_a_secret_reads_in_full_and_not_before_it_is_set(net: Namespace) -> None:
    name = "net.ipv6.conf.lo.stable_secret"
    for where in ("lo", "default", "all"):
        with pytest.raises(KernelError) as refused:
            net.sysctl(f"net.ipv6.conf.{where}.stable_secret")
        assert refused.value.errno == EIO

    assert net.sysctl(name, SECRET) == "2001:0db8:0000:0000:0001:0002:0003:0004"
    assert net.sysctl("net.ipv6.conf.lo.addr_gen_mode") == str(int(IN6_ADDR_GEN_MODE_STABLE_PRIVACY))


@pytest.mark.parametrize(
    ("name", "errno"),
    [
        ("net.ipv6.conf.lo.nope", ENOENT),
        ("net.ipv6.conf.nope.mtu", ENOENT),
        ("net.ipv4.conf.lo.mtu", ENOENT),
        ("net.ipv4.conf.nope.forwarding", ENOENT),
        ("net.ipv4.conf.forwarding", ENOENT),
        ("net.core.somaxconn", ENOENT),
        ("", ENOENT),
    ],
)
def test_what_is_not_there_can_be_neither_read_nor_written(net: Namespace, name: str, errno: int) -> None:
    for value in (None, 1):
        with pytest.raises(KernelError) as refused:
            net.sysctl(name, value)
        assert refused.value.errno == errno


def test_a_refused_write_leaves_rtnl_free_and_the_value_as_it_was(net: Namespace) -> None:
    for name, errno in (("mtu", EINVAL), ("mc_forwarding", EACCES)):
        before = net.sysctl(f"net.ipv6.conf.lo.{name}")
        with pytest.raises(KernelError) as refused:
            net.sysctl(f"net.ipv6.conf.lo.{name}", 7)
        assert (refused.value.errno, net.sysctl(f"net.ipv6.conf.lo.{name}")) == (errno, before)
    assert not net.net.machine.rtnl_held


def test_a_setting_goes_with_the_ipv6_half_of_its_device_and_comes_back_fresh(linux: Linux, net: Namespace) -> None:
    net.link_add("x0")
    net.sysctl("net.ipv6.conf.x0.hop_limit", 7)
    linux.effects()
    net.link_set("x0", mtu=1279)
    assert brief(messages(linux)).endswith("M-ff02::1 NC-2")
    with pytest.raises(KernelError):
        net.sysctl("net.ipv6.conf.x0.hop_limit")
    net.link_set("x0", mtu=1280)

    assert net.sysctl("net.ipv6.conf.x0.hop_limit") == "64"


FOLLOWERS = {
    "nothing was written": (),
    "it was written": ipv4("accept_local", "0"),
    "it was written badly": ipv4("accept_local", "x"),
    "nothing was written to it": ipv4("accept_local", ""),
    "another was written": ipv4("rp_filter", "1"),
    "lo came up": (up(), down()),
    "an address was added": (add("10.0.0.1/8"),),
    "the address 0.0.0.0 was added": (add("0.0.0.0/8"),),
    "IPv4 went and came back": (add("10.0.0.1/8"), mtu(67), mtu(68)),
    "IPv4 came back from a default that was written": (*ipv4("accept_local", "0", dev="default"), mtu(67), mtu(68)),
}


@pytest.mark.parametrize("before", FOLLOWERS.values(), ids=FOLLOWERS.keys())
@pytest.mark.parametrize("leaf", ["accept_local", "route_localnet", "forwarding"])
def test_a_device_follows_default_alike_on_both_kernels(
    net: Namespace, rtnl: RtnlKernel, leaf: str, before: tuple[Message, ...]
) -> None:
    for ask in (*before, *ipv4(leaf, "1", dev="default")):
        assert answer_of(net, ask) == answer_of(rtnl, ask)

    name = f"net.ipv4.conf.lo.{leaf}"
    assert net.sysctl(name) == rtnl.read_sysctl(name)


def test_a_new_namespace_takes_the_ipv4_settings_of_init_net_and_the_ipv6_settings_of_nobody(linux: Linux) -> None:
    for family in ("ipv4", "ipv6"):
        linux.init_net.sysctl(f"net.{family}.conf.default.forwarding", 1)
    blue = linux.add_net("blue")

    names = [f"net.{family}.conf.{dev}.forwarding" for family in ("ipv4", "ipv6") for dev in ("lo", "all")]
    assert [blue.sysctl(name) for name in names] == ["1", "0", "0", "0"]
