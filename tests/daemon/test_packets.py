"""Packets as commands of the service, in files, and the calls that anything leads to."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import pack

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrsvc.cli import main
from addrsvc.daemon.packets import Recorder
from addrsvc.daemon.pcap import PcapWriter, frames_of, read_capture
from addrsvc.daemon.printer import call_lines
from addrsvc.daemon.run import booted, bring_up
from addrsvc.daemon.service import Service
from addrsvc.errors import ControlError, KernelError, NotPermitted
from addrsvc.ports import PacketQueue
from tests.test_cli import Background

FRAME = bytes(12) + b"\x88\xb5hello"
FOLLOWED = "is no command that can be followed; those of link, addr, ping, send can"


@pytest.fixture
def service() -> Service:
    service = booted()
    bring_up(service, "init_net")
    return service


def rows(answer: object) -> list[dict[str, object]]:
    assert isinstance(answer, list)
    return answer


# --- commands -------------------------------------------------------------------------------------------------------


def test_what_was_sent_can_be_captured_from_a_number_on(service: Service) -> None:
    service.ask("send", {"frame": FRAME.hex()})
    assert service.ask("capture") == {"packets": [], "next": 0, "lost": 0}
    service.ask("send", {"frame": FRAME.hex()})
    first = service.ask("capture", {"since": 0})
    service.ask("send", {"frame": FRAME.hex(), "protocol": 0x1234})
    second = service.ask("capture", {"since": first["next"]})

    assert [(row["number"], row["pkttype"], row["data"]) for row in rows(first["packets"])] == [
        (0, 4, FRAME.hex()), (1, 0, FRAME.hex()),
    ]  # fmt: skip
    assert [row["number"] for row in rows(second["packets"])] == [2, 3]
    assert service.ask("capture", {"since": 3})["packets"] == rows(second["packets"])[1:]
    assert (second["next"], second["lost"]) == (4, 0)


def test_two_who_capture_see_the_same(service: Service) -> None:
    for _ in range(2):
        service.ask("capture")
    service.ask("ping", {"address": "::1", "count": 1})

    assert service.ask("capture", {"since": 0}) == service.ask("capture", {"since": 0})
    assert len(service.linux.machine.softnet.ptype_all) == 1


def test_who_captures_too_slowly_is_told_what_is_lost(service: Service) -> None:
    dev = service.net().device("lo")
    recorder = service.recorders[dev] = Recorder(service.net().lo.tap(), PacketQueue(size=4))
    for _ in range(3):
        service.ask("send", {"frame": FRAME.hex()})
    answer = service.ask("capture", {"since": 0})

    assert ([row["number"] for row in rows(answer["packets"])], answer["lost"]) == ([2, 3, 4, 5], 2)
    assert recorder.next == answer["next"] == 6


def test_what_the_tap_has_lost_had_numbers_too(service: Service) -> None:
    service.recorders[service.net().device("lo")] = Recorder(service.net().lo.tap(size=3), PacketQueue())
    service.ask("send", {"frame": FRAME.hex()})
    first = service.ask("capture", {"since": 0})
    for _ in range(3):
        service.ask("send", {"frame": FRAME.hex()})
    second = service.ask("capture", {"since": 0})

    assert ([row["number"] for row in rows(first["packets"])], first["lost"]) == ([0, 1], 0)
    assert ([row["number"] for row in rows(second["packets"])], second["lost"]) == ([5, 6, 7], 5)


def test_an_answer_holds_so_many_bytes_and_the_next_one_goes_on(service: Service) -> None:
    service.ask("capture")
    for _ in range(20):
        service.ask("send", {"frame": (FRAME + bytes(65000)).hex()})
    numbers, answer = list[object](), service.ask("capture", {"since": 0})
    while answer["packets"]:
        assert len(rows(answer["packets"])) in (16, 8)
        numbers += [row["number"] for row in rows(answer["packets"])]
        answer = service.ask("capture", {"since": answer["next"]})

    assert numbers == list(range(40))


def test_a_ping_tells_every_reply(service: Service) -> None:
    answer = service.ask("ping", {"address": "::1", "count": 2, "size": 10})

    assert answer == {
        "address": "::1", "size": 10, "transmitted": 2,
        "replies": [{"seq": seq, "source": "::1", "bytes": 18, "ttl": 64} for seq in (1, 2)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "parameters", "text"),
    [
        ("send", {"frame": "0x12"}, "frame: '0x12' is not hexadecimal"),
        ("send", {"frame": "z" * 99}, f"frame: '{'z' * 37}...' is not hexadecimal"),
        ("ping", {"address": "::1", "count": 0}, "count: 0 is not between 1 and 10000"),
        ("ping", {"address": "lo"}, "'lo' is no address, such as ::1 or 127.0.0.1"),
        ("trace", {"words": ["foo"]}, f'"foo" {FOLLOWED}'),
        ("trace", {"words": ["ping"]}, 'Not enough information: "address" argument is required.'),
        ("trace", {"words": ["ping", "::1", "-c"]}, 'Command line is not complete: "-c" wants a value.'),
        ("trace", {"words": ["send", "00", "00"]}, '"00" is not understood here'),
    ],
)  # fmt: skip
def test_a_request_that_is_none_says_why(
    service: Service, command: str, parameters: dict[str, object], text: str
) -> None:
    with pytest.raises(ControlError) as refused:
        service.ask(command, parameters)

    assert str(refused.value) == text


@pytest.mark.parametrize("command", ["send", "ping", "capture", "trace"])
def test_packets_are_for_the_privileged(service: Service, command: str) -> None:
    with pytest.raises(NotPermitted):
        service.ask(command, {}, privileged=False)


# --- the call story -------------------------------------------------------------------------------------------------


def story(service: Service, *words: str, inline: bool = False) -> list[str]:
    return list(call_lines(rows(service.ask("trace", {"words": list(words)})["calls"]), inline=inline, files=False))


def in_order(lines: list[str], wanted: list[str]) -> bool:
    """Whether these lines are there, one below the other, each deeper than the one before."""
    depth, left = -1, iter(lines)
    for name in wanted:
        found = next((line for line in left if line.strip() == name), None)
        if found is None or len(found) - len(found.lstrip()) <= depth:
            return False
        depth = len(found) - len(found.lstrip())
    return True


def test_a_link_change_is_told_from_the_request_to_the_address(service: Service) -> None:
    service.ask("link_set", {"dev": "lo", "up": False})

    assert in_order(story(service, "link", "set", "lo", "up"), [
        "rtnetlink_rcv_msg()", "rtnl_newlink()", "do_setlink(lo)", "netif_change_flags(lo)", "__dev_notify_flags(lo)",
        "addrconf_notify()", "init_loopback(lo)", "add_addr()",
    ])  # fmt: skip


def test_a_packet_is_told_from_the_socket_to_the_driver_and_back(service: Service) -> None:
    lines = story(service, "send", FRAME.hex())

    assert in_order(lines, [
        "packet_snd()", "packet_xmit(lo)", "dev_queue_xmit(lo)", "__dev_queue_xmit(lo)", "dev_hard_start_xmit(lo)",
        "loopback_xmit(lo)", "netif_rx(lo)", "netif_rx_internal(lo)", "enqueue_to_backlog(lo)",
    ])  # fmt: skip
    assert in_order(lines, ["do_softirq()", "net_rx_action()", "process_backlog()", "__netif_receive_skb_core(lo)"])
    assert [line.strip().partition(":")[0] for line in lines if "skbaddr" in line or ": ret=" in line] == [
        "net_dev_queue", "net_dev_start_xmit", "netif_rx_entry", "netif_rx", "netif_rx_exit", "net_dev_xmit",
        "netif_receive_skb",
    ]  # fmt: skip


def test_messages_stand_where_they_are_told_with_the_names_of_devices(service: Service) -> None:
    lines = story(service, "addr", "add", "2001:db8::1/64", "dev", "lo")
    told = [line for line in lines if line.strip().startswith("RTM_NEWADDR")]

    assert [line.strip() for line in told] == [
        f"RTM_NEWADDR  1: lo    inet6 2001:db8::1/64 scope global{state}" for state in (" tentative", "")
    ]
    assert lines[lines.index(told[0]) - 1].strip() == "rtnl_notify()"


def test_functions_of_header_files_are_left_out_and_what_they_call_moves_up(service: Service) -> None:
    everything = story(service, "send", FRAME.hex(), inline=True)
    without = story(service, "send", FRAME.hex())

    assert any("local_bh_disable()" in line for line in everything)
    assert not any("local_bh_disable()" in line for line in without)
    assert len(without) < len(everything)


def test_a_refusal_ends_the_story_and_is_told(service: Service) -> None:
    answer = service.ask("trace", {"words": ["ping", "2001:db8::1"]})

    assert (answer["refused"], sys.getprofile()) == ("Network is unreachable (ENETUNREACH)", None)


# --- files ----------------------------------------------------------------------------------------------------------


def write(path: Path, frames: list[bytes]) -> Path:
    with PcapWriter.open(path, "lo") as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / 10, outgoing=bool(number & 1))
    return path


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_what_was_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, frames: list[bytes]) -> None:
    path = write(tmp_path_factory.mktemp("pcap") / "x.pcapng", frames)

    assert list(frames_of(str(path))) == frames


def test_a_file_says_when_where_and_which_way(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcapng", [FRAME, FRAME])
    with path.open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        assert [(round(seconds, 6), frame) for seconds, frame in reader] == [(0.0, FRAME), (0.1, FRAME)]
        assert [option.data for option in reader.idb.opts if option.code == dpkt.pcapng.PCAPNG_OPT_IF_NAME] == [b"lo"]
    data = path.read_bytes()

    assert [data.count(pack("<HHI", 2, 4, way)) for way in (1, 2)] == [1, 1]


@pytest.mark.parametrize("tool", [["tshark", "-n", "-r"], ["tcpdump", "-nr"]])
def test_others_read_what_was_written(tmp_path: Path, tool: list[str]) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    path = tmp_path / "x.pcapng"
    assert main(["capture", "--once", "-w", str(path), "ping", "::1"]) == 0
    done = subprocess.run([*tool, str(path)], capture_output=True, text=True, check=True)

    assert [line.lower().count("echo") for line in done.stdout.splitlines()] == [1] * 4


def test_pcap_files_of_both_resolutions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    for nano in (False, True):
        with path.open("wb") as file:
            writer = dpkt.pcap.Writer(file, nano=nano)
            writer.writepkt(FRAME, ts=1.0)

        assert list(frames_of(str(path))) == [FRAME]


def test_lines_of_hexadecimal_are_read_and_one_frame_needs_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"{FRAME.hex(' ')}\n\n{FRAME.hex()}\n")

    assert list(frames_of(str(path))) == [FRAME, FRAME]
    assert list(frames_of(FRAME.hex())) == [FRAME]


def test_a_file_of_another_link_layer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    with path.open("wb") as file:
        dpkt.pcap.Writer(file, linktype=101).writepkt(FRAME, ts=1.0)

    with pytest.raises(ControlError, match="its link type is 101, not 1"):
        list(frames_of(str(path)))


@given(st.binary(max_size=200), st.sampled_from(["d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a"]))
def test_a_file_that_lies_is_no_file(rest: bytes, magic: str) -> None:
    try:
        frames = list(read_capture(bytes.fromhex(magic) + rest, "x"))
    except ControlError:
        return
    assert all(isinstance(frame, bytes) for frame in frames)


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_file_that_ends_too_early_gives_what_is_whole_or_says_so(tmp_path: Path, cut: int) -> None:
    data = write(tmp_path / "x.pcapng", [FRAME] * 3).read_bytes()[: -cut or None]
    seen = []
    with suppress(ControlError):
        for frame in read_capture(data, "x"):
            seen.append(frame)

    assert seen == [FRAME] * len(seen)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    """A service that serves."""
    background = Background(tmp_path / "control")
    try:
        yield background
    finally:
        background.process.terminate()
        background.process.communicate(timeout=30)


PINGED = """\
PING ::1(::1) 56 data bytes
64 bytes from ::1: icmp_seq=1 ttl=64
64 bytes from ::1: icmp_seq=2 ttl=64

--- ::1 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss
"""


def test_the_commands_ask_a_service(background: Background, tmp_path: Path) -> None:
    pinged = background("ping", "::1", "-c", "2")
    assert (pinged.returncode, pinged.stdout) == (0, PINGED)
    path = tmp_path / "x.pcapng"
    captured = background("capture", "-w", str(path), "--received", "ping", "127.0.0.1")
    assert (captured.returncode, captured.stderr, len(list(frames_of(str(path))))) == (0, "2 packets\n", 2)
    longest = tmp_path / "longest.txt"
    longest.write_text((bytes(12) + b"\x88\xb5" + bytes(65536)).hex())
    assert background("send", str(longest)).returncode == 0
    sent = background("send", str(path), "--json")
    assert (sent.returncode, sent.stdout) == (0, '{"sent":2}\n')
    traced = background("trace", "--files", "link", "set", "lo", "down")
    assert "addrconf_ifdown(lo)  [net/ipv6/addrconf.c]" in traced.stdout
    unanswered = background("ping", "::1")
    assert (unanswered.returncode, unanswered.stderr) == (2, "ping: connect: Cannot assign requested address\n")
    assert background("send", FRAME.hex()).stderr == "RTNETLINK answers: Network is down\n"


def test_a_capture_without_a_command_lasts_until_it_has_enough(background: Background, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    words = ["capture", "-w", str(path), "-c", "3", "--control", str(background.control)]
    with subprocess.Popen([sys.executable, "-m", "addrsvc", *words], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            background("send", FRAME.hex())
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, "3 packets\n")

    assert list(frames_of(str(path))) == [FRAME] * 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["capture", "-w", "{}/x.pcapng"], 1, "Error: capture: with --once name something to do, such as: ping ::1\n"),
        (["capture", "-w", "{}/no/x", "ping", "::1"], 1, "Error: {}/no/x: No such file or directory\n"),
        (["send", "zz"], 1, "Error: zz: neither a file nor a frame in hexadecimal\n"),
        (["send", "0000"], 2, "RTNETLINK answers: Invalid argument\n"),
        (["send", "{}"], 1, "Error: {}: Is a directory\n"),
        (["ping", "2001:db8::1"], 2, "ping: connect: Network is unreachable\n"),
        (["trace", "ping", "2001:db8::1"], 2, "Error: Network is unreachable (ENETUNREACH)\n"),
    ],
)
def test_the_commands_tell_what_they_cannot_do(
    words: list[str], code: int, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*(word.replace("{}", str(tmp_path)) for word in words), "--once"]) == code
    assert capfd.readouterr().err == says.replace("{}", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "packets"),
    [
        (["ping", "::1"], 4),
        (["ping", "::1", "-c", "3"], 12),
        (["ping", "-c3", "::1", "--once"], 12),
        (["-c", "5", "ping", "::1", "--count=3"], 5),
        (["--received", "ping", "127.0.0.1", "-c", "3", "-s", "10"], 6),
        (["send", FRAME.hex()], 2),
        (["send", "{}/three.pcapng"], 6),
        (["send", "{}/three.txt"], 6),
    ],
)
def test_what_is_captured_has_its_own_options_and_files(
    words: list[str], packets: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "three.pcapng", [FRAME] * 3)
    (tmp_path / "three.txt").write_text(f"{FRAME.hex()}\n" * 3)
    followed = [word.replace("{}", str(tmp_path)) for word in words]
    code = main(["capture", "--once", "-w", str(tmp_path / "ping"), *followed])

    assert (code, capfd.readouterr().err) == (0, f"{packets} packets\n")
    assert len(list(frames_of(str(tmp_path / "ping")))) == packets


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["--once", "ping", "::1"], 2),
        (["ping", "-s", "9", "::1", "-c", "2", "--files", "--once"], 4),
        (["--once", "send", "{}/three.pcapng"], 3),
    ],
)
def test_what_is_traced_has_its_own_options_and_files(
    words: list[str], sent: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "three.pcapng", [FRAME] * 3)

    assert main(["trace", *(word.replace("{}", str(tmp_path)) for word in words)]) == 0
    assert capfd.readouterr().out.count("loopback_xmit(") == sent


def test_an_option_that_ping_does_not_have_is_refused_also_where_it_is_followed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exits:
        main(["trace", "--once", "ping", "::1", "-q"])

    assert exits.value.code == 1
    assert capfd.readouterr().err.endswith("addrsvc: not understood: -q\n")


def test_standard_input_may_be_a_capture(tmp_path: Path) -> None:
    data = write(tmp_path / "x.pcapng", [FRAME] * 2).read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "addrsvc", "send", "--once", "--json", "-"], input=data, capture_output=True, check=True
    )

    assert done.stdout == b'{"sent":2}\n'


def test_a_frame_that_is_refused_is_told_with_the_kernels_errno(service: Service) -> None:
    with pytest.raises(KernelError, match="EINVAL"):
        service.ask("send", {"frame": "00"})


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("ping", {"address": "::1", "count": 300, "size": 65000}),
        ("ping", {"address": "::1", "count": 10_001}),
        ("trace", {"words": ["ping", "::1", "-c", "101"]}),
    ],
)
def test_more_than_can_be_answered_is_refused(command: str, parameters: dict[str, object]) -> None:
    with pytest.raises(ControlError, match="count"):
        booted().ask(command, parameters)


def test_what_is_too_long_by_far_is_refused_as_what_is_too_long(service: Service) -> None:
    with pytest.raises(KernelError) as caught:
        service.ask("ping", {"address": "::1", "count": 1, "size": 0xFFFFFFFF})
    assert caught.value.name == "EMSGSIZE"
