"""Unmodified ip(8) on the model and on the running kernel: the same bytes.

A small library that is preloaded (shim.c) makes ip's netlink sockets connections to the server of the model.  Both
run inside namespaces of the running kernel, so that what gets past the library is seen at once.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from addrsvc.mirror.netns import NetNs, create_anonymous, run_in
from tests.door.serving import Server
from tests.waiting import until

pytestmark = pytest.mark.needs_cap_sys_admin  # what is started inside a namespace is talked to from here

SHIM: Final = Path(__file__).with_name("shim.c")

# One row per thing that two kernels cannot agree on, with the reason.
MASKS: Final[Mapping[str, str]] = {
    r"(?<=refcnt )\d+": "how many hold a table of neighbours: the kernel's own affair",
    r"(?<= reachable )\d+": "drawn at random, and again every few minutes",
    r"(?<='reachable_time': )\d+": "the same",
    r"(?<='tstamp': )\d+": "a time since boot",
}

# One row per script: every command's output is compared, and what it leaves behind shows in what the next ones print.
SCRIPTS: Final[Mapping[str, str]] = {
    "a fresh namespace": """
        ip addr
        ip -6 addr
        ip -d link show lo
        ip -s -s link show lo
        ip -4 -o addr
        ip -j -d link
        ip -br addr
        ip -6 -d link show lo
    """,
    "lo up and down": """
        ip link set lo up
        ip addr
        ip -d -6 addr show dev lo
        ip -j addr
        ip link set lo down
        ip addr show up
        ip addr
    """,
    "adding addresses": """
        ip link set lo up
        ip addr add 2001:db8::1/64 dev lo
        ip addr add 2001:db8::2/64 dev lo nodad noprefixroute
        ip addr add 2001:db8::3/128 peer 2001:db8::4 dev lo metric 7
        ip addr add 2001:db8::5/64 dev lo scope link proto 9
        ip addr add 10.1.1.1/24 dev lo
        ip addr add 10.1.1.2/24 brd + dev lo label lo:x
        ip addr add 10.2.2.2 peer 10.3.3.3/32 dev lo metric 77
        ip addr show
        ip -d -6 addr show dev lo
        ip -4 addr show
        ip -6 addr show scope host
        ip -6 addr show to 2001:db8::/32
        ip addr show label lo:x
        ip -o addr
        ip -j -d addr
    """,
    "addresses that are refused": """
        ip link set lo up
        ip addr add 2001:db8::1/64 dev lo
        ip addr add 2001:db8::1/64 dev lo
        ip addr add 10.1.1.1/24 dev lo
        ip addr add 10.1.1.1/24 dev lo
        ip addr add ff02::1/64 dev lo
        ip addr add ::/64 dev lo
        ip addr add 2001:db8::2/64 dev lo home mngtmpaddr
        ip addr add 2001:db8::2/80 dev lo mngtmpaddr
        ip addr add 2001:db8::2/64 dev lo valid_lft 5 preferred_lft 10
        ip addr add 10.1.1.9/24 dev lo valid_lft 5 preferred_lft 10
        ip addr add 2001:db8::1/64 dev eth7
        ip addr del 2001:db8::99/64 dev lo
        ip addr del 2001:db8::1/63 dev lo
        ip addr del 10.1.1.9/24 dev lo
        ip addr change 2001:db8::98/64 dev lo
        ip addr
    """,
    "replacing and deleting addresses": """
        ip link set lo up
        ip addr replace 2001:db8::1/64 dev lo
        ip addr replace 2001:db8::1/64 dev lo valid_lft forever preferred_lft 0
        ip -6 addr
        ip addr change 2001:db8::1/64 dev lo metric 5 proto 6
        ip -d -6 addr
        ip addr replace 10.1.1.1/24 dev lo label lo:y
        ip addr replace 10.1.1.1/24 dev lo valid_lft forever preferred_lft 0
        ip addr
        ip addr del 2001:db8::1/64 dev lo
        ip addr del 10.1.1.1/24 dev lo
        ip addr del ::1/128 dev lo
        ip addr
    """,
    "flushing addresses": """
        ip link set lo up
        ip addr add 2001:db8::1/64 dev lo
        ip addr add 2001:db8::2/64 dev lo nodad
        ip addr add 10.1.1.1/24 dev lo
        ip addr add 10.1.1.2/24 dev lo label lo:x
        ip -s -s addr flush dev lo label lo:x
        ip addr
        ip -6 addr flush to 2001:db8::1 dev lo
        ip -6 addr
        ip -s addr flush dev lo scope global
        ip addr
        ip addr flush dev lo
        ip addr
        ip addr flush dev lo
    """,
    "setting lo": """
        ip link set lo mtu 1500 txqueuelen 50 alias hello group 5
        ip link set lo mtu 68
        ip link set lo promisc on allmulticast on
        ip link set lo multicast on arp off
        ip link set lo address 02:00:00:00:00:01
        ip link set lo addrgenmode none
        ip link set lo mode dormant
        ip -d link show lo
        ip -d -j link
        ip link set lo name loop
        ip link show
        ip link property add dev loop altname loopback
        ip link show loopback
        ip link property del dev loop altname loopback
        ip link show altname loopback
        ip link set loop up
        ip link set loop name lo
        ip addr
    """,
    "what lo refuses": """
        ip link set lo address 02:00
        ip link set lo carrier off
        ip link set lo master lo
        ip link set lo nomaster
        ip link set lo protodown on
        ip link set lo vf 0 mac 02:00:00:00:00:01
        ip link set lo xdp off
        ip link set lo state dormant
        ip link set lo name 12/34
        ip link set lo mtu 99999999999
        ip link add lo type ifb
        ip link del lo
        ip link show eth7
        ip link set eth7 up
        ip -d link
    """,
    "devices of one's own": """
        ip link add ifb7 address 02:00:00:00:00:07 type ifb
        ip link add ifb7 type ifb
        ip link add averyverylongname type ifb
        ip link add x0 type nonsense
        ip -d link show ifb7
        ip link set ifb7 address 02:00:00:00:00:08
        ip link set ifb7 name other alias words
        ip link property add dev other altname more altname evenmore
        ip -d link
        ip link show type ifb
        ip link show group default
        ip addr add 10.9.9.9/24 brd + dev other
        ip -4 addr
        ip link del more
        ip link
    """,
    "routes": """
        ip link set lo up
        ip addr add 2001:db8::1/64 dev lo nodad
        ip addr add 2001:db8::2/64 dev lo nodad metric 7
        ip addr add 2001:db8:9::3/128 peer 2001:db8::4 dev lo nodad
        ip addr add 10.1.1.1/24 dev lo
        ip addr add 10.1.1.2/24 brd + dev lo
        ip addr add 10.2.2.2 peer 10.3.3.3/32 dev lo metric 77
        ip -6 route show table all
        ip route show table all
        ip -d -6 route show table all
        ip -d route show table local
        ip -j route show table all
        ip -6 route
        ip route
        ip -4 route show table main
        ip -6 route show table local
        ip -6 route show table 7
        ip route show table 7
        ip route show dev lo
        ip route show proto kernel
        ip route show type broadcast table local
        ip -6 route show match 2001:db8::1 table all
        ip route show root 10.0.0.0/8 table all
        ip route show scope host table local
        ip addr flush dev lo
        ip route show table all
        ip -6 route show table all
        ip link set lo down
        ip -6 route show table all
        ip route show table all
    """,
    "routes of one's own": """
        ip link set lo up
        ip addr add 10.1.1.1/24 dev lo
        ip addr add 2001:db8::1/64 dev lo nodad
        ip route add 10.20.0.0/16 dev lo
        ip route add 10.20.0.0/16 dev lo
        ip route add 10.21.0.0/16 dev lo src 10.1.1.1 metric 5 proto static
        ip route add blackhole 10.22.0.0/16
        ip route add unreachable 10.23.0.0/16 metric 9
        ip route add local 10.24.0.0/16 dev lo
        ip route add 10.25.0.0/16 dev lo mtu 1400 advmss 1300
        ip route add 10.26.0.0/16 via 10.1.1.9
        ip route add 10.27.0.0/16 via 172.16.0.1
        ip route add 10.28.0.0/16 dev eth7
        ip route add 10.29.0.1/16 dev lo
        ip route add default dev lo
        ip -6 route add 2001:db8:20::/48 dev lo
        ip -6 route add 2001:db8:20::/48 dev lo
        ip -6 route add unreachable 2001:db8:21::/48
        ip -6 route add blackhole 2001:db8:22::/48 metric 77
        ip -6 route add local 2001:db8:23::/48 dev lo
        ip -6 route add 2001:db8:24::/48 dev lo mtu 1400 pref high
        ip -6 route add 2001:db8:25::/48 via 2001:db8::9
        ip -6 route add 2001:db8:26::/48 via 2001:db9::9
        ip -6 route add default dev lo metric 3
        ip route show table all
        ip -6 route show table all
        ip -d route show table all
        ip -6 route get 2001:db8:20::5
        ip -6 route get 2001:db8:21::5
        ip -6 route get 2001:db8:24::5
        ip route get 10.20.0.5
        ip route get 10.22.0.5
        ip route get 10.23.0.5
        ip route get 10.24.0.5
        ip route get 8.8.8.8
        ip -6 route get 2600::1
        ip route replace 10.20.0.0/16 dev lo metric 0 proto 99
        ip route change 10.25.0.0/16 dev lo mtu 1300
        ip route change 10.99.0.0/16 dev lo
        ip route append 10.20.0.0/16 dev lo src 10.1.1.1
        ip -6 route replace 2001:db8:20::/48 dev lo metric 1024 proto 99
        ip -6 route change 2001:db8:24::/48 dev lo mtu 1300
        ip route del 10.21.0.0/16
        ip route del 10.21.0.0/16
        ip -6 route del 2001:db8:21::/48
        ip -6 route del 2001:db8:99::/48
        ip route show table all
        ip -6 route show table all
        ip route add 10.30.0.0/16 dev lo table 77
        ip route show table 77
        ip -6 route add 2001:db8:30::/48 dev lo table 77
        ip -6 route show table 77
        ip route flush proto static
        ip -s -s route flush table main
        ip -6 route flush table main
        ip route show table all
        ip -6 route show table all
    """,
    "neighbours": """
        ip link set lo up
        ip neigh
        ip -6 neigh
        ip neigh show dev lo
        ip neigh show proxy
        ip neigh add 10.1.1.9 lladdr 02:00:00:00:00:09 dev lo
        ip -6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev lo
        ip neigh show
        ip neigh get 10.1.1.9 dev lo
        ip -6 neigh get 2001:db8::9 dev lo
        ip neigh del 10.1.1.9 dev lo
        ip neigh del 10.1.1.9 dev lo
        ip -6 neigh del 2001:db8::9 dev lo
        ip neigh flush dev lo nud all
        ip neigh show nud all
        ip ntable show dev lo
        ip ntable
        ip ntable show name arp_cache
        ip ntable change name arp_cache dev lo queue 7
        ip ntable change name arp_cache thresh1 7
        ip ntable
        ip link add ifb7 address 02:00:00:00:00:07 type ifb
        ip link set ifb7 up
        ip neigh add 10.1.1.9 lladdr 02:00:00:00:00:09 dev ifb7
        ip -6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev ifb7 nud permanent
        ip neigh add proxy 10.1.1.11 dev ifb7
        ip neigh
        ip -6 neigh
        ip neigh show proxy
        ip neigh get 10.1.1.9 dev ifb7
        ip neigh replace 10.1.1.9 lladdr 02:00:00:00:00:0b dev ifb7
        ip neigh change 10.1.1.77 lladdr 02:00:00:00:00:0b dev ifb7
        ip neigh del 10.1.1.9 dev ifb7
        ip neigh flush dev ifb7
        ip neigh flush dev ifb7 nud permanent
        ip neigh add 10.1.1.10 lladdr 02:00:00:00:00:0a dev ifb7 nud reachable
        ip neigh
    """,
    "address labels": """
        ip addrlabel
        ip addrlabel add prefix 2001:db8::/32 label 9
        ip addrlabel add prefix 2001:db8::/32 label 9
        ip addrlabel add prefix 2001:db8:1::/48 label 10 dev lo
        ip -j addrlabel
        ip addrlabel del prefix 2001:db8::/32
        ip addrlabel del prefix 2001:db8::/32
        ip addrlabel list
        ip addrlabel flush
        ip addrlabel
    """,
    "looking up routes": """
        ip link set lo up
        ip addr add 2001:db8::1/64 dev lo nodad
        ip addr add 2001:db8::2/64 dev lo nodad metric 7
        ip addr add 2001:db8:9::3/128 peer 2001:db8::4 dev lo nodad
        ip addr add 10.1.1.1/24 dev lo
        ip addr add 10.1.1.2/24 brd + dev lo
        ip addr add 10.2.2.2 peer 10.3.3.3/32 dev lo metric 77
        ip -6 route get ::1
        ip -6 route get 2001:db8::1
        ip -6 route get 2001:db8::99
        ip -6 route get 2001:db9::1
        ip route get 127.0.0.1
        ip route get 10.1.1.1
        ip route get 10.1.1.9
        ip route get 10.1.1.255
        ip route get 8.8.8.8
        ip route get fibmatch 10.1.1.1
        ip -6 route get fibmatch 2001:db8::1
        ip route get 10.1.1.1 from 10.1.1.2
        ip -6 route get 2001:db8::1 from 2001:db8::2
        ip route get 10.1.1.1 oif lo mark 5
        ip route get 10.1.1.1 ipproto tcp sport 5 dport 7
        ip -6 route get 2001:db8::1 oif eth7
    """,
    "rules": """
        ip rule
        ip -6 rule
        ip -d rule
        ip -j rule
        ip rule add from 10.0.0.1 table 5
        ip rule add to 10.0.0.0/8 lookup main pref 100
        ip -6 rule add from ::1 table 5
        ip rule add fwmark 7 table 9 suppress_prefixlength 0
        ip rule add iif lo blackhole
        ip rule
        ip -6 rule
        ip rule del from 10.0.0.1 table 5
        ip rule del from 10.0.0.9 table 5
        ip rule add from 10.0.0.0/33
        ip rule flush
        ip rule
    """,
    "settings and counters": """
        ip link set lo up
        ip netconf
        ip -4 netconf show dev lo
        ip -6 netconf show dev lo
        ip -j netconf
        ip stats show dev lo
        ip stats
        ip link afstats
    """,
}


@dataclass(frozen=True)
class Ip:
    """How ip(8) is run: inside which namespace, and in which environment."""

    netns: NetNs
    environment: Mapping[str, str]

    def __call__(self, command: str) -> str:
        """Run a command; what it printed, and how it ended."""
        process = self.start(command)
        out, err = process.communicate(timeout=60)
        ended = f"[{process.returncode}]\n" if process.returncode else ""
        return f"$ {command}\n{out}{err}{ended}"

    def start(self, command: str) -> "subprocess.Popen[str]":
        return run_in(self.netns, lambda: self._started(shlex.split(command)))

    def _started(self, words: list[str]) -> "subprocess.Popen[str]":
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that is preloaded."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip(8) here")
    if (compiler := shutil.which("cc") or shutil.which("gcc")) is None:
        pytest.skip("there is no C compiler here, to build the library that ip(8) is preloaded with")
    probe = [compiler, "-fsyntax-only", "-include", "linux/netlink.h", "-include", "dlfcn.h", "-xc", os.devnull]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{compiler} does not find the headers of Linux and of the C library here")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SHIM), "-ldl"], check=True)
    return library


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path / "model")) as server:
        server.start()
        yield server


@pytest.fixture
def kernel(netns: NetNs) -> Ip:
    """ip(8) on a fresh namespace of the running kernel."""
    return Ip(netns, {})


@pytest.fixture
def model(netns: NetNs, shim: Path, server: Server) -> Iterator[Ip]:
    """ip(8) on a fresh namespace of the model."""
    with create_anonymous("behind the shim") as behind:
        yield Ip(behind, {"LD_PRELOAD": str(shim), "ADDRSVC_NETLINK": str(server.path)})


def masked(text: str) -> str:
    for pattern in MASKS:
        text = re.sub(pattern, "*", text)
    return text


def transcript(ip: Ip, script: str) -> str:
    """What the commands print; each waits until no address is tentative, which a kernel sees to a moment later."""
    said = []
    for line in script.strip().splitlines():
        said.append(ip(line.strip()))
        until(lambda: "tentative" not in ip("ip -6 addr show tentative").partition("\n")[2])
    return masked("".join(said))


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_ip_prints_the_same_for_both_kernels(script: str, model: Ip, kernel: Ip) -> None:
    assert transcript(model, script) == transcript(kernel, script)


class Monitor:
    """An `ip monitor` in the background.

    What it hears before it has asked for the names of devices it does not print, and what it prints depends on when it
    reads; so nothing goes on before it has nothing to do.
    """

    def __init__(self, ip: Ip, server: Server, command: str) -> None:
        self._ip, self._server = ip, server
        self._process = ip.start(command)
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self.said = b""
        until(self._is_idle)

    def __call__(self, command: str, least: int = 0) -> int:
        """Run a command; how much has been said when there is nothing left to read, be it less than expected."""
        self._ip(command)
        deadline = time.monotonic() + 1
        until(lambda: self._is_idle() and (len(self.said) >= least or time.monotonic() > deadline))
        return len(self.said)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def _unread(self) -> int | None:
        """How much it has not read; None while it does not listen."""
        if self._ip.environment:
            return next((len(sock.queue) for sock in self._server.linux.netlink.listeners), None)
        table = run_in(self._ip.netns, lambda: Path("/proc/thread-self/net/netlink").read_text())
        rows = [row.split() for row in table.splitlines()[1:]]
        return next((int(row[4]) for row in rows if row[1] == "0" and int(row[3], 16)), None)

    def _is_idle(self) -> bool:
        return all(self._waits() for _ in range(3))

    def _waits(self) -> bool:
        time.sleep(0.002)
        with suppress(BlockingIOError):
            self.said += os.read(self._output, 1 << 20)
        _, _, state = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")
        return self._unread() == 0 and state.startswith("S")


def monitored(ip: Ip, server: Server, command: str, expected: Sequence[int]) -> tuple[str, list[int]]:
    """What a monitor prints while the script runs, and how much of it by the end of each command."""
    with closing(Monitor(ip, server, command)) as monitor:
        lengths = [monitor(line, least) for line, least in zip(MONITORED, expected, strict=True)]
    return monitor.said.decode(), lengths


MONITORED: Final = (
    "ip link set lo up",
    "ip addr add 2001:db8::1/64 dev lo nodad",
    "ip addr replace 2001:db8::1/64 dev lo nodad preferred_lft 0",
    "ip addr add 10.1.1.1/24 dev lo",
    "ip addr del 2001:db8::1/64 dev lo",
    "ip link set lo mtu 1500 alias new promisc on",
    "ip link add ifb7 address 02:00:00:00:00:07 type ifb",
    "ip link set ifb7 name other",
    "ip addr add 10.9.9.9/24 dev other",
    "ip link del other",
    "ip route add 10.20.0.0/16 dev lo",
    "ip route replace 10.20.0.0/16 dev lo proto 99",
    "ip -6 route add unreachable 2001:db8:20::/48",
    "ip -6 route del 2001:db8:20::/48",
    "ip rule add to 10.0.0.0/8 lookup 7",
    "ip rule del to 10.0.0.0/8 lookup 7",
    "ip neigh add 10.1.1.9 lladdr 02:00:00:00:00:09 dev lo",
    "ip neigh del 10.1.1.9 dev lo",
    "ip addr flush dev lo scope global",
    "ip link set lo down",
)


@pytest.mark.parametrize(
    "command", ["ip monitor all", "ip -d monitor link", "ip -o monitor", "ip monitor address", "ip -6 monitor all"]
)
def test_ip_monitor_prints_the_same_for_both_kernels(command: str, model: Ip, kernel: Ip, server: Server) -> None:
    """The running kernel, which does some things a moment later, is given time to say as much as the model says."""
    by_model, lengths = monitored(model, server, command, [0] * len(MONITORED))
    by_kernel, _ = monitored(kernel, server, command, lengths)

    assert by_model.count("\n") > 10
    assert by_model == by_kernel


PYROUTE2: Final = """
from pyroute2 import IPRoute
with IPRoute() as listener, IPRoute() as ipr:
    listener.bind()
    ipr.link("set", index=1, state="up", mtu=1400)
    ipr.addr("add", index=1, address="2001:db8::1", prefixlen=64, flags=2)
    print(*(link["attrs"] for link in ipr.link("dump")))
    print(*(msg.get("address") for msg in ipr.addr("dump")))
    heard = []
    while "RTM_NEWADDR" not in heard:
        heard += [msg["event"] for msg in listener.get()]
    print(heard)
"""


def test_pyroute2_sees_the_same_in_both_kernels(model: Ip, kernel: Ip) -> None:
    """Unmodified, and unaware of the model: its sockets are made for it by the library, as those of ip(8) are."""
    said = [python(ip, PYROUTE2) for ip in (model, kernel)]

    assert "2001:db8::1" in said[0]
    assert said[0] == said[1]


def python(ip: Ip, script: str) -> str:
    return masked(ip(shlex.join([sys.executable, "-W", "error", "-c", script])))


def test_a_program_without_the_variable_is_left_alone(netns: NetNs, shim: Path) -> None:
    bare, preloaded = Ip(netns, {}), Ip(netns, {"LD_PRELOAD": str(shim)})

    assert preloaded("ip addr") == bare("ip addr")


def test_where_nobody_serves_ip_says_so(netns: NetNs, shim: Path, tmp_path: Path) -> None:
    ip = Ip(netns, {"LD_PRELOAD": str(shim), "ADDRSVC_NETLINK": str(tmp_path / "nobody")})

    assert ip("ip addr") == "$ ip addr\nCannot open netlink socket: No such file or directory\n[1]\n"
