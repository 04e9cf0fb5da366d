"""The command line, as a user types it: every test runs the command in a process of its own."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrsvc.cli import main
from addrsvc.daemon import client as client_module
from addrsvc.daemon.client import Client
from addrsvc.injection import INFO_OF_EVENT
from addrsvc.mirror.kernel import Kernel
from addrsvc.mirror.netns import NetNs
from addrsvc.mirror.plan import IFAPROT_ADDRSVC
from addrsvc.mirror.rtnl import RtnlKernel, RtnlWatch
from addrsvc.model.proc import PROC_NET
from addrsvc.netlink.messages import AddrMsg, LinkMsg, Message, RouteMsg
from addrsvc.uapi import (
    IFAPROT_KERNEL_LO,
    IFF_UP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RT_TABLE_MAIN,
    RTM_DELADDR,
    RTM_NEWADDR,
    NetdevEvent,
)

ADDRSVC = [sys.executable, "-m", "addrsvc"]
ADDRSVC_ = " ".join(ADDRSVC)
LO_UP = (
    "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000\n"
    "    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n"
    "    inet 127.0.0.1/8 scope host lo\n"
    "       valid_lft forever preferred_lft forever\n"
    "    inet6 ::1/128 scope host proto kernel_lo\n"
    "       valid_lft forever preferred_lft forever\n"
)


def run(*words: str, control: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    where = ["--control", str(control)] if control else []
    return subprocess.run(
        [*ADDRSVC, *words, *where], capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=60
    )


def shell(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)


class Background:
    """An `addrsvc run` of its own, and the words to talk to it."""

    def __init__(self, control: Path, *words: str) -> None:
        self.control = control
        self.process = subprocess.Popen(
            [*ADDRSVC, "run", "--control", str(control), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith(("control: ", '{"kind":"control"')):
                break
        else:
            pytest.fail("".join(self.process.stderr or ()))

    def __call__(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return run(*words, control=self.control)

    def end(self, number: int = signal.SIGTERM) -> tuple[str, str, int]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return out, err, self.process.returncode


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Background]:
    background = Background(tmp_path / "control")
    yield background
    background.end(signal.SIGKILL)


# --- run ------------------------------------------------------------------------------------------------------------


def test_run_once_ends_with_the_loopback_address_on_lo() -> None:
    done = run("run", "--once")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"\ninit_net:\n{LO_UP}")


def test_run_once_shows_netdev_up_passing_the_chain_in_the_kernels_order() -> None:
    story = run("run", "--once").stdout

    _, _, passing = story.partition("init_net: NETDEV_UP  lo\n")
    order = re.findall(r"^  (\w+)(  \(priority (-?\d+)\))?$", passing, re.MULTILINE)
    assert [(name, priority) for name, _, priority in order][:9] == [
        ("rtnetlink_event", ""),
        ("fib_rules_event", ""),
        ("arp_netdev_event", ""),
        ("inetdev_event", ""),
        ("fib_netdev_event", ""),
        ("addrconf_notify", ""),
        ("packet_notifier", ""),
        ("ndisc_netdev_event", "-5"),
        ("ip6_route_dev_notify", "-10"),
    ]


def test_run_once_as_json_is_one_object_a_line() -> None:
    lines = [json.loads(line) for line in run("run", "--once", "--json").stdout.splitlines()]

    assert any(line["kind"] == "event" and line["data"]["event"] == "NETDEV_UP" for line in lines)
    assert lines[-1]["kind"] == "addresses"
    assert lines[-1]["links"][0]["addr_info"][-1]["local"] == "::1"


def test_the_same_run_gives_the_same_output() -> None:
    assert run("run", "--once").stdout == run("run", "--once").stdout


@pytest.mark.parametrize("words", [["--help"], ["run", "--once"], ["addr", "show", "--once"], ["inject", "--help"]])
def test_a_fresh_model_needs_neither_an_event_loop_nor_a_running_kernel(words: list[str]) -> None:
    probe = (
        "import sys; from addrsvc.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe, *words], capture_output=True, text=True, check=True)

    loaded = set(done.stderr.split())
    assert "addrsvc" in loaded
    assert not loaded & {"asyncio", "pyroute2", "structlog", "asyncvarlink"}


def test_the_version_needs_nothing_at_all() -> None:
    probe = "import sys; from addrsvc.__main__ import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe, "--version"], capture_output=True, text=True, check=True)

    assert re.fullmatch(r"addrsvc \d+\.\S+\n", done.stdout)
    assert not {"argparse", "dataclasses", "addrsvc.cli"} & set(done.stderr.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_until_a_signal_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    background = Background(tmp_path / "control")
    assert background("status").returncode == 0

    out, err, code = background.end(number)
    assert (out, err, code) == ("", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_of_its_own_run_makes_a_private_one_and_says_where(tmp_path: Path) -> None:
    # In a user namespace that maps nobody, root's own processes are told that they are nobody.
    as_nobody = ["unshare", "--user"] if os.geteuid() == 0 else []
    with subprocess.Popen(
        [*as_nobody, *ADDRSVC, "run"],
        stdout=subprocess.PIPE,
        text=True,
        env={**{k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        path = next(Path(line.split()[1]) for line in process.stdout if line.startswith("control: "))
        process.send_signal(signal.SIGTERM)

    assert path.parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_second_service_is_refused_and_the_first_lives_on(service: Background) -> None:
    second = run("run", control=service.control)

    assert second.returncode == 1
    assert "a service is running already" in second.stderr
    assert service("status").returncode == 0


def test_the_socket_of_a_killed_service_is_taken_over(tmp_path: Path) -> None:
    Background(tmp_path / "control").end(signal.SIGKILL)
    assert (tmp_path / "control").is_socket()

    background = Background(tmp_path / "control")
    assert background("status").returncode == 0
    background.end()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    done = shell(f"set -o pipefail; {ADDRSVC_} run --once | head -n 1")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["run --once", "addr --once", "events --once", "--help", "--version"])
def test_output_that_cannot_be_written_ends_with_1(words: str) -> None:
    done = shell(f"{ADDRSVC_} {words} >/dev/full")

    assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["run --once", "addr --once", "--help", "--version"])
def test_output_that_is_closed_goes_nowhere(words: str, closed: str) -> None:
    done = shell(f"{ADDRSVC_} {words} {closed}")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_service_that_can_write_nothing_serves(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [*ADDRSVC, "run", "--control", str(control)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    _await_service(control)
    assert run("link", "set", "lo", "mtu", "1400", control=control).returncode == 0
    assert " mtu 1400 " in run("link", control=control).stdout
    process.send_signal(signal.SIGTERM)

    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


def _await_service(control: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if run("status", control=control).returncode == 0:
            return
    pytest.fail("nobody serves")


def test_the_story_goes_on_when_it_can_be_written_again(tmp_path: Path) -> None:
    story, control = tmp_path / "story", tmp_path / "control"
    # The limit on the size of a file is the disk that is full, until it is lifted.
    process = subprocess.Popen(
        ["bash", "-c", f"ulimit -S -f 8; exec {ADDRSVC_} run --control {control} >{story}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    _await_service(control)
    with Client(control) as client:
        for _ in range(200):
            client.ask("link_set", {"dev": "lo", "up": False})
            client.ask("link_set", {"dev": "lo", "up": True})
        assert story.stat().st_size == 8192
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        deadline = time.monotonic() + 30
        while " lost, as " not in story.read_text() and time.monotonic() < deadline:
            client.ask("link_set", {"dev": "lo", "up": True})
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (0, "")
    told, _, later = story.read_text().partition(" lost, as ")
    assert "RTM_NEWADDR" in told
    assert "RTM_NEWADDR" in later


def test_the_service_ends_when_nobody_reads_its_story_any_more(tmp_path: Path) -> None:
    background = Background(tmp_path / "control")
    assert background.process.stdout is not None
    background.process.stdout.close()
    background("link", "set", "lo", "down")

    assert background.process.wait(30) == 0
    assert background.process.stderr is not None
    with background.process.stderr as errors:
        assert errors.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_output_that_nobody_takes_holds_nothing_up(tmp_path: Path) -> None:
    background = Background(tmp_path / "control")
    with Client(background.control) as client:
        for _ in range(200):
            client.ask("link_set", {"dev": "lo", "up": False})
            client.ask("link_set", {"dev": "lo", "up": True})
    background.process.send_signal(signal.SIGTERM)
    assert background.process.wait(30) == 0

    out, err = background.process.communicate()
    assert (len(out) > 10000, err) == (True, "")
    assert list(tmp_path.iterdir()) == []


# --- talk to a running service ---------------------------------------------------------------------------------------


def test_addr_show_prints_what_ip_prints(service: Background) -> None:
    assert service("addr", "show", "dev", "lo").stdout == LO_UP


def test_link_set_changes_the_device(service: Background) -> None:
    assert service("link", "set", "dev", "lo", "mtu", "1400", "txqlen", "5").returncode == 0

    assert " mtu 1400 " in service("link").stdout
    assert json.loads(service("link", "show", "lo", "--json").stdout)[0]["txqlen"] == 5


def test_addr_add_and_del_change_the_addresses(service: Background) -> None:
    assert service("addr", "add", "2001:db8::1/64", "dev", "lo", "nodad").returncode == 0
    assert "inet6 2001:db8::1/64 scope global nodad" in service("addr", "-6").stdout
    assert service("addr", "del", "2001:db8::1/64", "dev", "lo").returncode == 0
    assert "2001:db8" not in service("addr").stdout


def test_a_refusal_is_worded_as_ip_words_it_and_ends_with_2(service: Background) -> None:
    done = service("addr", "add", "::1/128", "dev", "lo")
    assert (done.returncode, done.stderr) == (2, "Error: ipv6: address already assigned.\n")

    done = service("addr", "add", "127.0.0.1/8", "dev", "lo")
    assert (done.returncode, done.stderr) == (2, "Error: ipv4: Address already assigned.\n")

    done = service("link", "set", "lo", "name", "lo/1")
    assert (done.returncode, done.stderr) == (2, "RTNETLINK answers: Invalid argument\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sysctl", "foo.bar"], "cannot stat /proc/sys/foo/bar: No such file or directory"),
        (["sysctl", "net.ipv6.conf.a/b.mtu"], "cannot stat /proc/sys/net/ipv6/conf/a.b/mtu: No such file or directory"),
        (["sysctl", "net/ipv6/conf/a.b/mtu"], "cannot stat /proc/sys/net/ipv6/conf/a.b/mtu: No such file or directory"),
        (["sysctl", "net/ipv6/conf.lo/mtu"], "cannot stat /proc/sys/net/ipv6/conf.lo/mtu: No such file or directory"),
        (
            ["sysctl", "net.ipv6.conf.lo.disable_ipv6=x"],
            'setting key "net.ipv6.conf.lo.disable_ipv6": Invalid argument',
        ),
        (["sysctl", "net.ipv4.conf.lo.mc_forwarding=1"], 'permission denied on key "net.ipv4.conf.lo.mc_forwarding"'),
        (
            ["sysctl", "net.ipv6.conf.lo.stable_secret"],
            'reading key "net.ipv6.conf.lo.stable_secret": Input/output error',
        ),
    ],
)
def test_a_refused_setting_is_worded_as_sysctl_words_it(words: list[str], text: str) -> None:
    done = run(*words, "--once")

    assert (done.returncode, done.stderr) == (2, f"sysctl: {text}\n")


def test_settings_are_written_and_shown_as_sysctl_shows_them() -> None:
    done = run("sysctl", "net.ipv6.conf.lo.mtu", "net.ipv6.conf.lo.mtu=1400", "net.ipv4.conf.lo.tag=0x10", "--once")

    assert (done.returncode, done.stdout.splitlines()) == (0, [
        "net.ipv6.conf.lo.mtu = 65536", "net.ipv6.conf.lo.mtu = 1400", "net.ipv4.conf.lo.tag = 16",
    ])  # fmt: skip


def test_slashes_may_part_a_name_as_for_sysctl() -> None:
    done = run("sysctl", "net/ipv6/conf/lo/mtu", "--once")

    assert (done.returncode, done.stdout) == (0, "net.ipv6.conf.lo.mtu = 65536\n")


def test_settings_of_a_service_stay_written(service: Background) -> None:
    assert service("sysctl", "net.ipv6.conf.lo.hop_limit=7", "--net", "init_net").returncode == 0

    done = service("sysctl", "net.ipv6.conf.lo.hop_limit", "--json")
    assert done.stdout == '{"name":"net.ipv6.conf.lo.hop_limit","value":"7"}\n'


def test_a_file_below_proc_is_shown_as_it_reads() -> None:
    done = run("proc", "net/if_inet6", "--once")

    assert (done.returncode, done.stdout) == (0, f"{1:032x} 01 80 10 80       lo\n")
    assert run("proc", "sys/net/ipv6/conf/lo/mtu", "--once", "--json").stdout == '{"content":"65536\\n"}\n'


def test_every_file_below_proc_net_is_named_in_the_help() -> None:
    said = run("proc", "--help").stdout

    assert [name for name in PROC_NET if f"net/{name}" not in said] == []


def test_proc_may_stand_in_front() -> None:
    assert run("proc", "/proc/net/dev", "--once").stdout == run("proc", "net/dev", "--once").stdout != ""


def test_a_file_that_is_not_there_is_named() -> None:
    done = run("proc", "net/nothing", "--once")

    assert (done.returncode, done.stderr) == (2, "proc: /proc/net/nothing: No such file or directory\n")


@pytest.mark.parametrize("control", ["", "/", ".", "/tmp"])
def test_a_control_socket_that_is_a_directory_is_named(control: str) -> None:
    done = run("run", "--control", control)

    assert done.returncode == 1
    assert re.fullmatch(r"Error: \S+ is a directory: .*\n", done.stderr)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["link", "set", "l0", "up"], "(did you mean lo?)"),
        (["addr", "show", "dev", "l0"], 'Device "l0" does not exist.'),
        (["inject", "NETDEV_PU", "lo"], "NETDEV_PU"),
        (["inject", "NETDEV_UP", "l0"], "l0"),
        (["inject", "NETDEV_CHANGEMTU", "lo", "mtu=big"], "mtu"),
        (["inject", "NETDEV_UP", "lo", "mtu"], "'mtu' is not KEY=VALUE"),
        (["link", "--net", "ini_net"], "did you mean init_net?"),
        (["addr", "add", "2001:db8::g", "dev", "lo"], "2001:db8::g"),
        (["plan", "--netns", "nowhere"], "not mirrored"),
        (["link", "set", "lo", "mtu", "-3"], 'argument "-3" is wrong: Invalid "mtu" value'),
        (["inject", "CHANGEMTU", "lo", "mtu=1500", "mtu=1400"], "mtu: given twice"),
        (["inject", "-1", "lo"], "no event has number -1"),
    ],
)
def test_a_request_that_is_none_ends_with_1(service: Background, words: list[str], text: str) -> None:
    done = service(*words)

    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_inject_calls_the_chain_of_the_running_service(service: Background) -> None:
    assert service("inject", "NETDEV_CHANGEMTU", "lo", "mtu=1500").returncode == 0

    assert "NETDEV_CHANGEMTU  lo  (mtu was 1500)" in service("events").stdout
    assert " mtu 65536 " in service("link").stdout


def test_options_may_stand_anywhere(service: Background) -> None:
    assert service("net-add", "blue").returncode == 0
    assert service("link", "set", "lo", "--net", "blue", "mtu", "1400").returncode == 0
    assert service("inject", "CHANGEMTU", "lo", "--net", "blue", "mtu=77").returncode == 0

    assert " mtu 1400 " in service("link", "--net", "blue").stdout
    assert "blue: NETDEV_CHANGEMTU  lo  (mtu was 77)" in service("events").stdout
    assert json.loads(service("-j", "-6", "addr", "show", "lo").stdout)[0]["addr_info"][0]["local"] == "::1"
    assert "not understood: --nonsense" in service("link", "--nonsense").stderr


def test_events_follow_tells_what_happens_until_interrupted(service: Background) -> None:
    with subprocess.Popen(
        [*ADDRSVC, "events", "--follow", "--control", str(service.control)], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert any("NETDEV_UP  lo" in line for line in following.stdout)
        service("link", "set", "lo", "down")
        assert any("RTM_DELADDR" in line for line in following.stdout)
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0


def test_events_follow_ends_with_the_service(service: Background) -> None:
    with subprocess.Popen(
        [*ADDRSVC, "events", "--follow", "--control", str(service.control)], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert any("NETDEV_UP  lo" in line for line in following.stdout)
        service.end()
        following.stdout.read()
        assert following.wait(30) == 0


def test_events_follow_ends_when_nobody_reads_it_though_nothing_happens(service: Background) -> None:
    with subprocess.Popen(
        [*ADDRSVC, "events", "--follow", "--control", str(service.control)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        assert any("RTM_NEWADDR" in line and "::1/128" in line for line in following.stdout)
        following.stdout.close()
        assert (following.wait(30), following.stderr.read()) == (0, "")


def test_a_client_asks_its_own_service_and_else_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, system = tmp_path / "addrsvc" / "control", tmp_path / "system"
    monkeypatch.setattr(client_module, "SYSTEM_CONTROL", system)
    monkeypatch.setattr(os, "geteuid", lambda: 70001)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert client_module.find_control() == own
    system.touch()
    assert client_module.find_control() == system
    own.parent.mkdir()
    own.touch()
    assert client_module.find_control() == own
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert client_module.find_control() == system
    system.unlink()
    assert client_module.find_control() is None


def test_status_tells_who_runs(service: Background) -> None:
    status = json.loads(service("status", "--json").stdout)

    assert status["pid"] == service.process.pid
    assert status["nets"] == [{"net": "init_net", "devices": 1, "addresses": 2}]
    assert f"pid: {service.process.pid}" in service("status").stdout


def test_without_a_service_the_error_says_what_to_do(tmp_path: Path) -> None:
    done = run("status", control=tmp_path / "control")

    assert done.returncode == 1
    assert "no service is running at" in done.stderr
    assert "--once" in done.stderr


# --- a fresh model ---------------------------------------------------------------------------------------------------


def test_once_asks_a_fresh_model() -> None:
    assert run("addr", "show", "dev", "lo", "--once").stdout == LO_UP


def test_once_tells_what_a_change_sets_off() -> None:
    story = run("link", "set", "lo", "mtu", "1200", "--once").stdout

    assert "NETDEV_CHANGEMTU  lo" in story
    assert "RTM_DELADDR  Deleted 1: lo    inet6 ::1/128 scope host proto kernel_lo" in story
    assert "NETDEV_UP" not in story


def test_once_injects_into_a_fresh_model() -> None:
    assert "NETDEV_DOWN  lo" in run("inject", "DOWN", "lo", "--once").stdout


# --- the running kernel ---------------------------------------------------------------------------------------------

LOOPBACK = bytes(15) + b"\x01"
FOREIGN = bytes.fromhex("20010db8000000000000000000000077")


def path_of(netns: NetNs) -> str:
    return f"/proc/{os.getpid()}/fd/{netns.fileno()}"


def addresses(kernel: Kernel) -> list[tuple[bytes | None, int | None]]:
    told = [msg for msg in kernel.dump() if isinstance(msg, AddrMsg) and msg.nlmsg_type == RTM_NEWADDR]
    return [(msg.local or msg.address, msg.proto) for msg in told]


def routes_of_main(kernel: Kernel) -> list[Message]:
    return [msg for msg in kernel.dump() if isinstance(msg, RouteMsg) and msg.table == RT_TABLE_MAIN]


def sent(done: "subprocess.CompletedProcess[str]") -> list[str]:
    assert (done.returncode, done.stderr) == (0, "")
    lines = map(json.loads, done.stdout.splitlines())
    return [line["data"]["message"] for line in lines if line["kind"] == "sent"]


def delete_loopback(kernel: Kernel) -> None:
    kernel.request(AddrMsg(nlmsg_type=RTM_DELADDR, ifa_index=1, address=LOOPBACK))


def test_run_once_brings_up_lo_of_a_namespace(netns: NetNs, rtnl: RtnlKernel) -> None:
    done = run("run", "--once", "--netns", path_of(netns), "--json")

    assert sent(done) == ["RTM_NEWLINK"]
    assert addresses(rtnl) == [(bytes([127, 0, 0, 1]), None), (LOOPBACK, IFAPROT_KERNEL_LO)]


def test_a_full_disk_does_not_keep_a_namespace_from_following(netns: NetNs, rtnl: RtnlKernel) -> None:
    assert shell(f"{ADDRSVC_} run --once --netns {path_of(netns)} >/dev/full").returncode == 1

    assert addresses(rtnl) == [(bytes([127, 0, 0, 1]), None), (LOOPBACK, IFAPROT_KERNEL_LO)]


def test_run_again_sends_nothing(netns: NetNs, rtnl: RtnlKernel) -> None:
    run("run", "--once", "--netns", path_of(netns))

    done = run("run", "--once", "--netns", path_of(netns))
    assert done.stdout.endswith(f"{path_of(netns)}: no messages sent\n")


def test_a_loopback_address_deleted_by_hand_comes_back_with_one_message(netns: NetNs, rtnl: RtnlKernel) -> None:
    run("run", "--once", "--netns", path_of(netns))
    rtnl.request(AddrMsg(nlmsg_flags=NLM_F_CREATE | NLM_F_EXCL, ifa_index=1, address=FOREIGN))
    before, main = addresses(rtnl), routes_of_main(rtnl)
    delete_loopback(rtnl)

    assert sent(run("run", "--once", "--netns", path_of(netns), "--json")) == ["RTM_NEWADDR"]
    assert sorted(addresses(rtnl), key=str) == sorted(before, key=str)
    assert routes_of_main(rtnl) == main


def test_plan_tells_what_run_would_send_and_sends_nothing(netns: NetNs, rtnl: RtnlKernel) -> None:
    plan = run("plan", "--once", "--netns", path_of(netns)).stdout

    assert "1 message to send" in plan
    assert "RTM_NEWLINK  ip link set dev lo up" in plan
    assert "because " in plan
    assert addresses(rtnl) == []


def test_a_running_service_repairs_what_is_changed_under_it(tmp_path: Path, netns: NetNs, rtnl: RtnlKernel) -> None:
    background = Background(tmp_path / "control", "--netns", path_of(netns))
    try:
        with rtnl.watch() as watch:
            delete_loopback(rtnl)
            _await_loopback(watch)
            rtnl.request(LinkMsg(ifi_index=1, ifi_change=IFF_UP))
            _await_loopback(watch)
        assert "divergences none" in background("status").stdout
    finally:
        _, err, _ = background.end()
    assert "converged" in err
    assert "RTM_" not in err


def test_verbose_logs_what_is_heard(tmp_path: Path, netns: NetNs, rtnl: RtnlKernel) -> None:
    background = Background(tmp_path / "control", "--netns", path_of(netns), "--verbose")
    assert background("status").returncode == 0
    with rtnl.watch() as watch:
        delete_loopback(rtnl)
        _await_loopback(watch)
    assert background("status").returncode == 0

    assert "RTM_DELADDR" in background.end()[1]


def _await_loopback(watch: RtnlWatch) -> None:
    """Listen until the kernel says that ::1 is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for msg in watch:
            if isinstance(msg, AddrMsg) and (msg.nlmsg_type, msg.address) == (RTM_NEWADDR, LOOPBACK):
                return
    pytest.fail("nobody brought ::1 back")


def test_an_operation_reaches_the_kernel_through_the_service(tmp_path: Path, netns: NetNs, rtnl: RtnlKernel) -> None:
    background = Background(tmp_path / "control", "--netns", path_of(netns))
    try:
        assert background("addr", "add", "2001:db8::5/64", "dev", "lo", "--net", path_of(netns)).returncode == 0
        assert (bytes.fromhex("20010db8000000000000000000000005"), IFAPROT_ADDRSVC) in addresses(rtnl)
        assert background("addr", "del", "2001:db8::5/64", "dev", "lo", "--net", path_of(netns)).returncode == 0
        assert len(addresses(rtnl)) == 2
    finally:
        background.end()


@pytest.mark.needs_cap_sys_admin
def test_without_privilege_the_missing_one_is_named(netns: NetNs) -> None:
    """Even root has none once its capabilities are gone."""
    dropped = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if dropped and shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv(1)")
    words = [*dropped, *ADDRSVC, "run", "--once", "--netns", path_of(netns)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert re.fullmatch(r"Error: .* needs CAP_\w+\.\n", done.stderr)


def test_a_namespace_that_does_not_exist_is_named() -> None:
    done = run("run", "--once", "--netns", "addrsvc-nowhere")

    assert (done.returncode, done.stderr) == (1, 'Error: no network namespace "addrsvc-nowhere"\n')


# --- the parser ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["run"], ["status"], ["events"], ["inject"], ["link"], ["addr"], ["plan"], ["net-add"]], ids=" ".join
)
def test_every_command_has_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])

    assert caught.value.code == 0
    assert "exit codes: 0 done" in capsys.readouterr().out


def test_the_help_of_inject_tells_it_from_an_operation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inject", "--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "Injecting only calls the chain" in text
    assert "XDP_FEAT_CHANGE" in text
    assert re.search(r"EVENT an event .* DEV the device .* KEY=VALUE what comes with the event", text)
    for event, (_, members) in INFO_OF_EVENT.items():
        assert NetdevEvent(event).name.removeprefix("NETDEV_") in text
        assert all(f"{member}=" in text for member in members)


def test_a_wrong_word_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rnu"])

    assert caught.value.code == 1
    assert "invalid choice" in capsys.readouterr().err
