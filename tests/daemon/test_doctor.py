"""The doctor finds what was broken in a namespace of the running kernel, and the commands that it prints mend it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from errno import EPERM
from pathlib import Path
from uuid import uuid4

import pytest

from addrsvc.daemon.doctor import CANNOT_LOOK, IS_BROKEN, examine
from addrsvc.daemon.findings import BROKEN, CHECKS, WARNING, find
from addrsvc.daemon.names import HostsLine, Names
from addrsvc.daemon.symptoms import IN6ADDR_LOOPBACK, INADDR_LOOPBACK, Facts, Probe, Settings
from addrsvc.mirror.netns import create_named, remove_named
from addrsvc.netlink.messages import AddrMsg, LinkMsg, RouteMsg
from addrsvc.uapi import AF_INET, IFA_F_DADFAILED, IFA_F_PERMANENT, IFA_F_TENTATIVE, IFF_UP, RTN_LOCAL

PER_NETNS = Path("/etc/netns")
GOOD_FILES = {"hosts": "127.0.0.1 localhost\n::1 localhost\n", "nsswitch.conf": "hosts: files\n", "gai.conf": ""}


class Patient:
    """A namespace of its own, with files of its own, which a test breaks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files = PER_NETNS / name

    def run(self, *commands: str) -> None:
        for command in commands:
            subprocess.run(["sh", "-c", command], check=True, capture_output=True)

    def inside(self, *commands: str) -> None:
        self.run(*(f"ip netns exec {self.name} {command}" for command in commands))

    def findings(self) -> list[tuple[str, str]]:
        (examined,) = examine([self.name])
        return [(finding.check, finding.severity) for finding in examined.findings]

    def mend(self) -> list[str]:
        (examined,) = examine([self.name])
        commands = [command for finding in examined.findings for command in finding.mend]
        self.run(*commands)
        return commands

    def doctor(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return doctor("--netns", self.name, *words)


def doctor(*words: str, before: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, sys.executable, "-m", "addrsvc", "doctor", *words], capture_output=True, text=True, check=False
    )


@pytest.fixture
def patient(cap_sys_admin: None) -> Iterator[Patient]:
    missing = [tool for tool in ("ip", "sysctl", "tc", "nsenter") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the commands that mend need {', '.join(missing)}, which is not installed")
    patient = Patient(f"addrsvc-doctor-{uuid4().hex[:12]}")
    create_named(patient.name).close()
    patient.files.mkdir(parents=True)
    for name, text in GOOD_FILES.items():
        (patient.files / name).write_text(text)
    patient.run(f"ip -n {patient.name} link set lo up")
    yield patient
    remove_named(patient.name)
    shutil.rmtree(patient.files)
    with suppress(OSError):
        PER_NETNS.rmdir()


def test_nothing_is_wrong_with_a_namespace_whose_lo_is_up(patient: Patient) -> None:
    assert patient.findings() == []


SHADOWED = ("ip -6 rule add pref 10 lookup local", "ip -6 rule del pref 0")
BREAKS: dict[str, tuple[tuple[str, ...], list[tuple[str, str]]]] = {
    "lo is down": (("ip link set lo down",), [("lo", BROKEN)]),
    "::1 is deleted": (("ip addr del ::1/128 dev lo",), [("::1", BROKEN)]),
    "all of IPv6 is flushed": (("ip -6 addr flush dev lo",), [("::1", BROKEN)]),
    "all is flushed": (("ip addr flush dev lo",), [("::1", BROKEN), ("127.0.0.1", BROKEN)]),
    "127.0.0.1 is deleted": (("ip addr del 127.0.0.1/8 dev lo",), [("127.0.0.1", BROKEN)]),
    "the MTU is below 1280": (("ip link set lo mtu 1279",), [("mtu", BROKEN)]),
    "the MTU was below 1280": (("ip link set lo mtu 1279", "ip link set lo mtu 1280"), [("::1", BROKEN)]),
    "the MTU is below what IPv4 needs": (("ip link set lo mtu 67",), [("mtu", BROKEN), ("127.0.0.1", BROKEN)]),
    "lo is down, its MTU small": (
        ("ip link set lo mtu 1000", "ip link set lo down"),
        [("mtu", BROKEN), ("lo", BROKEN)],
    ),
    "the MTU is small, and IPv6 off": (
        ("sysctl -w net.ipv6.conf.lo.disable_ipv6=1", "ip link set lo mtu 1000"),
        [("mtu", BROKEN), ("disable_ipv6", BROKEN)],
    ),
    "the MTU is small, IPv6 off, and lo down": (
        ("sysctl -w net.ipv6.conf.lo.disable_ipv6=1", "ip link set lo mtu 1000", "ip link set lo down"),
        [("mtu", BROKEN), ("disable_ipv6", BROKEN), ("lo", BROKEN)],
    ),
    "IPv6 is off on lo": (("sysctl -w net.ipv6.conf.lo.disable_ipv6=1",), [("disable_ipv6", BROKEN)]),
    "IPv6 is off on all": (
        ("sysctl -w net.ipv6.conf.all.disable_ipv6=1",),
        [("disable_ipv6", BROKEN), ("default", WARNING)],
    ),
    "IPv6 is off, and lo down": (
        ("sysctl -w net.ipv6.conf.lo.disable_ipv6=1", "ip link set lo down"),
        [("disable_ipv6", BROKEN), ("lo", BROKEN)],
    ),
    "IPv6 is off by default": (("sysctl -w net.ipv6.conf.default.disable_ipv6=1",), [("default", WARNING)]),
    "lo has another name": (("ip link set lo down", "ip link set lo name loop.0"), [("lo", BROKEN)]),
    "lo has another name, and no IPv6": (
        ("ip link set lo down", "ip link set lo name loop.0", "sysctl -w net.ipv6.conf.loop/0.disable_ipv6=1"),
        [("disable_ipv6", BROKEN), ("lo", BROKEN)],
    ),
    "::1 is deprecated": (("ip addr change ::1/128 dev lo preferred_lft 0",), [("state", WARNING)]),
    "::1 will be gone": (
        ("ip addr change ::1/128 dev lo preferred_lft 1000 valid_lft 1000",),
        [("state", WARNING)],
    ),
    "the local route is gone": (("ip -6 route del local ::1 dev lo table local",), [("route", BROKEN)]),
    "a blackhole is in its place": (
        ("ip -6 route add blackhole ::1 table local", "ip -6 route del local ::1 dev lo table local"),
        [("route", BROKEN)],
    ),
    "a rule prohibits ::1": ((*SHADOWED, "ip -6 rule add pref 5 to ::1 prohibit"), [("rules", BROKEN)]),
    "a rule is a blackhole": ((*SHADOWED, "ip -6 rule add pref 5 blackhole"), [("rules", BROKEN)]),
    "a rule of preference 0 is in the way": (
        (*SHADOWED, "ip -6 rule add pref 0 unreachable"),
        [("rules", BROKEN)],
    ),
    "another table comes first": (
        (*SHADOWED, "ip -6 route add prohibit ::1 table 100", "ip -6 rule add pref 5 lookup 100"),
        [("rules", BROKEN)],
    ),
    "no rule leads to table local": (
        ("ip -6 rule add pref 5 to 2001:db8::/32 lookup 100", "ip -6 rule del pref 0"),
        [("rules", BROKEN)],
    ),
    "packets are dropped": (
        ("tc qdisc add dev lo root tbf rate 1kbit burst 10b limit 10b",),
        [("packets6", BROKEN)],
    ),
    "what is bound to :: is for IPv6 only": (("sysctl -w net.ipv6.bindv6only=1",), [("bindv6only", WARNING)]),
}


@pytest.mark.parametrize(("commands", "expected"), BREAKS.values(), ids=BREAKS.keys())
def test_what_is_broken_is_found_and_the_printed_commands_mend_it(
    patient: Patient, commands: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    patient.inside(*commands)

    assert patient.findings() == expected
    assert patient.mend()
    assert patient.findings() == []


FILES: dict[str, tuple[dict[str, str], list[tuple[str, str]]]] = {
    "the hosts file has no ::1": ({"hosts": "127.0.0.1 localhost\n"}, [("hosts", BROKEN)]),
    "it has ::1 under another name": (
        {"hosts": "127.0.0.1 localhost\n::1 ip6-localhost\n"}, [("hosts", BROKEN)],
    ),
    "its line is commented out": (
        {"hosts": "127.0.0.1 localhost\n# here\n # ::1 localhost ip6-localhost\n"}, [("hosts", BROKEN)],
    ),
    "it is empty": ({"hosts": ""}, [("hosts", BROKEN)]),
    "nobody reads it": ({"nsswitch.conf": "passwd: files\nhosts: dns [!UNAVAIL=return]\n"}, [("nsswitch", BROKEN)]),
    "it leads elsewhere, too": (
        {"hosts": "127.0.0.1 localhost\n::1 localhost\n2001:db8::1\tlocalhost\n"}, [("strangers", WARNING)],
    ),
    "IPv4 comes first": (
        {"gai.conf": "# ours\nprecedence ::ffff:0:0/96 100\n"}, [("precedence", WARNING)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "expected"), FILES.values(), ids=FILES.keys())
def test_what_is_wrong_with_files_is_found_and_the_printed_commands_mend_it(
    patient: Patient, files: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    for name, text in files.items():
        (patient.files / name).write_text(text)

    assert patient.findings() == expected
    assert patient.mend()
    assert patient.findings() == []
    assert "::1" in (patient.files / "hosts").read_text()


@pytest.mark.parametrize("kind", ["path", "pid", "label"])
def test_the_commands_reach_a_namespace_that_has_no_name(patient: Patient, kind: str) -> None:
    with subprocess.Popen(
        ["ip", "netns", "exec", patient.name, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b".")
        process.stdin.flush()
        assert process.stdout.read(1) == b"."  # so that it is in there by now
        spec = {
            "path": f"/proc/{process.pid}/ns/net",
            "pid": str(process.pid),
            "label": f"pid:{process.pid}",
        }[kind]
        patient.inside("ip link set lo mtu 1000", "sysctl -w net.ipv6.conf.default.disable_ipv6=1")
        (examined,) = examine([spec])
        patient.run(*(command for finding in examined.findings for command in finding.mend if finding.check != "hosts"))
        process.stdin.close()

    assert patient.findings() == []


FILTER = """
import sys
from pyroute2.nftables.main import NFTables
with NFTables(nfgen_family=10) as nft:
    nft.table("add", name="filter")
    nft.chain("add", table="filter", name="all", hook=sys.argv[1], type="filter", policy=0)
"""


@pytest.mark.parametrize(("hook", "why"), [("output", "forbids it"), ("input", "drops it on the way")])
def test_a_packet_filter_is_told_as_such(patient: Patient, hook: str, why: str) -> None:
    made = subprocess.run(
        ["ip", "netns", "exec", patient.name, sys.executable, "-W", "ignore", "-c", FILTER, hook],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"this kernel has no packet filter: {made.stderr.splitlines()[-1]}")

    (examined,) = examine([patient.name])

    (found,) = examined.findings
    assert (found.check, found.severity, found.mend) == ("packets6", BROKEN, ())
    assert found.why.endswith(why)
    assert found.look == tuple(
        f"ip netns exec {patient.name} {command}" for command in ("nft list ruleset", "ip6tables-save")
    )


def test_where_ipv4_alone_is_configured_some_programs_find_no_ipv6(patient: Patient) -> None:
    patient.inside("ip addr add 192.0.2.1/32 dev lo")
    assert patient.findings() == [("addrconfig", WARNING)]

    patient.inside("ip addr add 2001:db8::1/128 dev lo")
    assert patient.findings() == []


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_exit_code_is_for_monitoring(patient: Patient) -> None:
    well = patient.doctor()
    patient.inside("sysctl -w net.ipv6.bindv6only=1")
    warned = patient.doctor("--quiet")
    patient.inside("ip link set lo down")
    broken = patient.doctor("--quiet")
    unknown = doctor("--netns", f"{patient.name}-not")

    assert (well.returncode, warned.returncode) == (0, 0)
    assert (broken.returncode, unknown.returncode) == (IS_BROKEN, CANNOT_LOOK)
    assert well.stdout.startswith(f"{patient.name}: ::1 works\n  ok the kernel has IPv6\n")
    assert "warning: bindv6only is 1" in warned.stdout
    assert f"mend: ip -n {patient.name} link set lo up" in broken.stdout
    assert " ok " not in warned.stdout + broken.stdout
    assert unknown.stdout == f'{patient.name}-not: not looked at: no network namespace "{patient.name}-not"\n'


def test_quiet_has_nothing_to_say_where_all_is_well(patient: Patient) -> None:
    assert (patient.doctor("-q").stdout, patient.doctor("-q").returncode) == ("", 0)


def test_it_tells_programs_in_json(patient: Patient) -> None:
    patient.inside("ip addr del ::1/128 dev lo")

    (told,) = json.loads(patient.doctor("--json").stdout)["namespaces"]

    assert (told["netns"], told["looked"], told["broken"]) == (patient.name, True, True)
    assert told["findings"][0]["check"] == "::1"
    assert told["findings"][0]["mend"] == [f"ip -n {patient.name} addr add ::1/128 dev lo nodad noprefixroute"]
    assert {(it["address"], it["protocol"], it["works"]) for it in told["probes"]} == {
        ("::1", "TCP", False), ("::1", "UDP", False), ("127.0.0.1", "TCP", True), ("127.0.0.1", "UDP", True),
    }  # fmt: skip
    assert told["localhost"] == ["127.0.0.1", "::1"]


def test_a_name_moves_no_cursor(patient: Patient) -> None:
    patient.run(f"ip -n {patient.name} link set lo down")
    patient.run(f"ip -n {patient.name} link set lo name \"$(printf 'lo\\033[2J')\"")

    told = patient.doctor().stdout

    assert r"broken: lo\x1b[2J is down" in told
    assert "\033" not in told


def test_what_another_fault_hides_is_said_to_be_untried_and_found_afterwards(patient: Patient) -> None:
    patient.inside(*SHADOWED, "ip -6 rule add pref 5 to ::1 prohibit", "ip link set lo down")
    told = patient.doctor("-q").stdout
    assert patient.findings() == [("lo", BROKEN)]
    patient.mend()

    assert "not tried before that is mended: ::1, state, route, rules, 127.0.0.1, packets6, packets4" in told
    assert patient.findings() == [("rules", BROKEN)]
    patient.mend()
    assert patient.findings() == []


def test_a_namespace_is_looked_at_once_whatever_it_is_called(patient: Patient) -> None:
    assert [it.spec for it in examine([patient.name, f"/run/netns/{patient.name}"])] == [patient.name]


def test_without_privilege_it_says_what_it_could_not_look_at(patient: Patient) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv, which takes capabilities away, is not installed")
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    named = doctor("--quiet", "--netns", patient.name, before=without)
    every = doctor("--quiet", "--json", before=without)

    assert (
        named.stdout
        == f'{patient.name}: not looked at: entering network namespace "{patient.name}" needs CAP_SYS_ADMIN\n'
    )
    assert named.returncode == CANNOT_LOOK
    assert every.returncode != CANNOT_LOOK
    told = {it["netns"]: it["looked"] for it in json.loads(every.stdout)["namespaces"]}
    assert (told["host"], told[patient.name]) == (True, False)


def test_on_a_terminal_there_are_marks_and_colours(patient: Patient) -> None:
    script = shutil.which("script")
    if script is None:
        pytest.skip("script, which makes a terminal, is not installed")
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", "NO_COLOR": ""}
    command = f"{sys.executable} -m addrsvc doctor --netns {patient.name}"
    done = subprocess.run(
        [script, "-qec", command, "/dev/null"], capture_output=True, check=True, env=env, stdin=subprocess.DEVNULL
    )

    assert "\033[32m✓\033[0m ::1 is on lo" in done.stdout.decode()


# --- what no namespace can be brought to ------------------------------------------------------------------------------

LOOPBACK6 = AddrMsg(address=IN6ADDR_LOOPBACK, ifa_index=1, flags=IFA_F_PERMANENT)
LOOPBACK4 = AddrMsg(ifa_family=AF_INET, ifa_prefixlen=8, local=INADDR_LOOPBACK, ifa_index=1)
WELL = Facts(
    "host",
    True,
    LinkMsg(ifi_index=1, ifname="lo", ifi_flags=IFF_UP, mtu=65536, qdisc="noqueue"),
    "",
    Settings(0, 0, 0, 0),
    (LOOPBACK4, LOOPBACK6),
    (RouteMsg(rtm_type=RTN_LOCAL),),
    RouteMsg(rtm_type=RTN_LOCAL),
    probes=tuple(Probe(protocol, address) for address in ("::1", "127.0.0.1") for protocol in ("TCP", "UDP")),
    names=Names(
        lines=(HostsLine(1, "::1", ("localhost",)),),
        order=("files",),
        answer=("::1", "127.0.0.1"),
        configured=("::1", "127.0.0.1"),
    ),
)


def only(facts: Facts) -> tuple[str, str, tuple[str, ...]]:
    (found,) = find(facts)
    return found.check, found.what, found.mend


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert find(WELL) == []


def no_ipv6(facts: Facts, cmdline: str) -> Facts:
    return replace(
        facts, has_ipv6=False, cmdline=cmdline, settings=Settings(), addresses=(LOOPBACK4,), local=(), lookup=None
    )


def test_a_kernel_without_ipv6_is_told_by_why_it_has_none() -> None:
    booted = no_ipv6(WELL, "quiet ipv6.disable=1")

    assert only(booted) == ("ipv6", "this kernel was booted without IPv6", ())
    assert only(no_ipv6(WELL, "quiet")) == ("ipv6", "this kernel has no IPv6", ("modprobe ipv6",))


@pytest.mark.parametrize(
    ("flag", "word"), [(IFA_F_DADFAILED | IFA_F_TENTATIVE, "dadfailed"), (IFA_F_TENTATIVE, "tentative")]
)
def test_an_address_that_may_not_be_used_is_made_anew(flag: int, word: str) -> None:
    address = replace(LOOPBACK6, flags=IFA_F_PERMANENT | flag)

    assert only(replace(WELL, addresses=(LOOPBACK4, address))) == (
        "state",
        f"::1 is {word}",
        ("ip addr del ::1/128 dev lo", "ip addr add ::1/128 dev lo nodad noprefixroute"),
    )


def test_what_a_filter_forbids_is_told_as_such() -> None:
    (found,) = find(replace(WELL, probes=(Probe("TCP", "::1", "bind()", EPERM), *WELL.probes[1:])))

    assert (found.check, found.what) == (
        "packets6",
        "::1 does not work over TCP: bind(): Operation not permitted",
    )
    assert "packet filter" in found.why
    assert (found.mend, found.look) == ((), ("nft list ruleset", "ip6tables-save"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda it: replace(it, answer=(), failure="Temporary failure in name resolution"), "localhost is not found"),
        (lambda it: replace(it, answer=("127.0.0.1",)), "localhost is 127.0.0.1, and not ::1"),
    ],
    ids=["not at all", "elsewhere"],
)
def test_a_resolver_that_ignores_good_files_is_told(change: Callable[[Names], Names], expected: str) -> None:
    assert WELL.names is not None

    check, what, _ = only(replace(WELL, names=change(WELL.names)))

    assert check == "getaddrinfo"
    assert what.startswith(expected)


def test_a_localhost_that_leads_elsewhere_first_is_broken() -> None:
    assert WELL.names is not None
    lines = (*WELL.names.lines, HostsLine(4, "192.0.2.1", ("here", "localhost")))

    (found,) = find(replace(WELL, names=replace(WELL.names, lines=lines, answer=("192.0.2.1", "::1"))))

    assert (found.check, found.severity) == ("strangers", BROKEN)
    assert found.mend == (r"sed -i '4s/[[:space:]]localhost\b//' /etc/hosts",)


def test_each_check_has_a_name_of_its_own_and_is_explained_by_earlier_ones() -> None:
    names = [check.name for check in CHECKS]

    assert len(set(names)) == len(names)
    for position, check in enumerate(CHECKS):
        assert set(check.unless) <= set(names[:position])


def test_commands_quote_what_a_shell_would_take_apart() -> None:
    lo = replace(WELL.lo, ifname="lo;ls", ifi_flags=0)

    (found,) = find(replace(WELL, spec="a b", lo=lo))

    assert found.mend == ("ip -n 'a b' link set 'lo;ls' up",)
