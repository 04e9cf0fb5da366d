"""A short fire in every run of the tests, what it has found so far, and that it notices what it is there for."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrsvc.model import receive, xmit
from addrsvc.model.eth import eth_type_trans
from addrsvc.model.features import SKB_GSO_SCTP
from addrsvc.model.skbuff import SkBuff, alloc_skb, kfree_skb
from addrsvc.model.structs import NetDevice
from addrsvc.uapi import ETH_P_IPV6, PACKET_OTHERHOST
from tests.packets.fuzz.__main__ import fire, main
from tests.packets.fuzz.generator import HANDLED, Bent, Generator
from tests.packets.fuzz.target import Broken, Target
from tests.packets.generator import V6, ipv6, link

INPUTS = 1500
SCTP = 132

# --- by chance --------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False))
def test_what_must_hold_holds(chance: Random) -> None:
    fire(chance, 4)


def test_they_are_not_all_of_a_kind() -> None:
    counts = fire(Random(3), INPUTS)

    assert counts.total() > INPUTS
    assert min(counts[f"dev_queue_xmit: {outcome}"] for outcome in ("0", "-ENOMEM", "2")) > 10
    assert min(counts[f"{door}: 0"] for door in ("netif_rx", "netif_receive_skb", "packet_snd")) > 10


def test_the_same_seed_makes_the_same() -> None:
    first, second, other = (Generator(Random(seed), 0, 0) for seed in (1, 1, 2))
    packets = [str(first.bent()) for _ in range(50)]

    assert packets == [str(second.bent()) for _ in range(50)]
    assert packets != [str(other.bent()) for _ in range(50)]


def test_the_command_says_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--inputs", "200", "--seed", "7"]) == 0

    assert "seed 7: 200 packets, all holds" in capsys.readouterr().out


# --- it notices -------------------------------------------------------------------------------------------------------


def test_a_packet_that_vanishes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(skb: SkBuff, dev: NetDevice) -> int:
        kfree_skb(skb)
        return 1

    monkeypatch.setattr(receive, "_drop", lose)

    with pytest.raises(Broken, match="taken or dropped"):
        fire(Random(1), INPUTS)


def test_an_account_that_is_not_settled_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(skb: SkBuff, dev: NetDevice) -> None:
        dev.core_stats.tx_dropped += 1

    monkeypatch.setattr(xmit, "_drop", forget)

    with pytest.raises(Broken, match="on the account"):
        fire(Random(1), INPUTS)


# --- what it has found ------------------------------------------------------------------------------------------------


@pytest.fixture
def target() -> Target:
    return Target()


def test_a_dropped_packet_leaves_its_senders_account(target: Target) -> None:
    lying = Bent("dev_queue_xmit", target.features & ~(1 << 3), bytes(60), protocol=HANDLED,
                 fields={"ip_summed": 3, "csum_start": 14, "csum_offset": 100})  # fmt: skip

    target.feed(lying, Random(1))

    assert target.counts["dev_queue_xmit: -ENOMEM"] == 1
    assert target.sender.wmem_alloc == 0


@pytest.mark.parametrize("length", range(14))
def test_what_is_missing_of_a_link_header_is_zero(target: Target, length: int) -> None:
    skb = alloc_skb(2, b"\x02" * length)

    assert eth_type_trans(skb, target.lo) < 0x600
    assert (skb.len, skb.mac_header) == (length, 2)
    assert skb.pkt_type == (PACKET_OTHERHOST if length else 0)


def test_a_link_header_is_found_in_pages(target: Target) -> None:
    skb = Bent("", 0, bytes(3), frags=(bytes(9), HANDLED.to_bytes(2) + b"payload")).skb()

    assert eth_type_trans(skb, target.lo) == HANDLED
    assert skb.tobytes() == b"payload"


def test_a_list_that_is_not_there_is_not_cut(target: Target) -> None:
    frame = link(ETH_P_IPV6, ipv6(SCTP, bytes(12), *V6))
    fields = {"network_header": 14, "transport_header": 54}
    bent = Bent("dev_queue_xmit", 0, frame, gso=(0xFFFF, 0, SKB_GSO_SCTP), protocol=ETH_P_IPV6, fields=fields)

    target.feed(bent, Random(1))

    assert target.counts["dev_queue_xmit: -ENOMEM"] == 1


def test_headers_without_payload_are_one_segment(target: Target) -> None:
    frame = link(ETH_P_IPV6, ipv6(SCTP, bytes(12), *V6))
    fields = {"network_header": 14, "transport_header": 54}
    bent = Bent("dev_queue_xmit", 0, frame, gso=(100, 0, SKB_GSO_SCTP), protocol=ETH_P_IPV6, fields=fields)

    target.feed(bent, Random(1))

    assert target.counts["dev_queue_xmit: 0"] == 1
