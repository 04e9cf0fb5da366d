"""The tracepoints of a packet's path print what the running kernel's own formats would print."""

import os
import re
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from addrsvc.model.trace_net import NetDevStartXmit, NetDevTemplate, NetDevXmit, NetifRxExit, NetifRxVerbose
from tests.packets.tracefs import NoTracefs, mounted

ADDRESS = 0xFFFF888104A3B500
VERBOSE = NetifRxVerbose(
    "netif_rx_entry", "lo", 0, 0, ADDRESS, False, 0, 0, 0x86DD, 0, 0, False, 104, 0, 832, True, -14, 0, 0, 0
)  # fmt: skip
START_XMIT = NetDevStartXmit("lo", 0, ADDRESS, False, 0, 0, 0x86DD, 3, 118, 0, 14, True, 54, 0, 0, 0, 0)
TRACEPOINTS = (
    *(NetDevTemplate(name, "lo", ADDRESS, 118) for name in ("net_dev_queue", "netif_rx", "netif_receive_skb")),
    *(replace(VERBOSE, name=name) for name in ("netif_rx_entry", "netif_receive_skb_entry")),
    replace(VERBOSE, vlan_tagged=True, vlan_proto=0x8100, vlan_tci=0xFFF, hash=0xDEADBEEF, l4_hash=True, gso_type=0x11),
    *(NetifRxExit(name, ret) for name in ("netif_rx_exit", "netif_receive_skb_exit") for ret in (0, 1)),
    START_XMIT,
    replace(START_XMIT, vlan_tagged=True, vlan_proto=0x88A8, vlan_tci=7, gso_size=1448, gso_segs=3, gso_type=0x10011),
    NetDevXmit("lo", ADDRESS, 118, 0),
)
# What each conversion of a format prints.
CONVERSIONS = {
    "%s": r"\S+", "%u": r"\d+", "%d": r"-?\d+", "%i": r"-?\d+", "%p": r"[0-9a-f]{16}", "%px": r"[0-9a-f]{16}",
    "%#x": r"0x[0-9a-f]+", "%04x": r"[0-9a-f]{4,}", "%08x": r"[0-9a-f]{8}",
}  # fmt: skip


@pytest.fixture(scope="module")
def root() -> Iterator[int]:
    try:
        with mounted() as root:
            yield root
    except NoTracefs as reason:
        pytest.skip(str(reason))


def pattern(format_: str) -> str:
    """What a ``print fmt`` prints, as a regular expression."""
    literals = re.split(r"(%#?\d*(?:px|[a-z]))", format_)
    return "".join(CONVERSIONS[part] if part.startswith("%") else re.escape(part) for part in literals)


def described(root: int, name: str) -> str:
    with open(os.open(f"events/net/{name}/format", os.O_RDONLY, dir_fd=root)) as file:
        return file.read()


@pytest.mark.parametrize("hit", TRACEPOINTS, ids=str)
def test_a_tracepoint_is_printed_by_the_kernels_format(hit: object, root: int) -> None:
    name, _, text = str(hit).partition(": ")
    found = re.search(r'^print fmt: "(.*?)"', described(root, name), re.MULTILINE)
    assert found is not None

    assert re.fullmatch(pattern(found[1]), text)


@pytest.mark.parametrize("hit", TRACEPOINTS, ids=str)
def test_a_tracepoint_has_the_fields_that_it_prints(hit: object) -> None:
    _, _, text = str(hit).partition(": ")
    printed = [word.partition("=")[0] for word in text.split()]
    own = [field.name for field in fields(hit) if field.name != "name"]  # type: ignore[arg-type]

    assert printed == own
