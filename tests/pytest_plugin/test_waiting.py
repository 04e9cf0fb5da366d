"""Waiting is for something that is said: in real time on the running kernel, in the model's own on the model."""

import time

import pytest

from addrsvc.linux import Linux, Namespace
from addrsvc.mirror.operations import Operations
from addrsvc.netlink.messages import AddrMsg
from addrsvc.pytest_plugin import assert_addresses, expect_messages, wait_for, wait_until
from addrsvc.uapi import RTM_DELADDR


def test_a_message_that_comes_later_is_waited_for(kernel: Operations) -> None:
    with wait_for(kernel, "Deleted 1: lo    inet6 2001:db8::1/128 ...", timeout=30) as said:
        kernel.addr_add("2001:db8::1", "lo", valid_lft=1)

    last = said[-1]
    assert isinstance(last, AddrMsg)
    assert last.nlmsg_type == RTM_DELADDR


def test_a_message_that_was_said_in_the_block_is_not_waited_for(kernel: Operations) -> None:
    start = time.monotonic()
    with wait_for(kernel, "...::1/128...", timeout=60):
        kernel.link_set("lo", up=True)

    assert time.monotonic() - start < 30


def test_a_condition_that_comes_true_is_waited_for(kernel: Operations) -> None:
    kernel.addr_add("2001:db8::1", "lo", valid_lft=1)

    assert wait_until(kernel, lambda: not kernel.addresses("lo"), timeout=30) is True


def test_a_condition_that_is_true_is_not_waited_for(machine: Linux, net: Namespace) -> None:
    start = machine.jiffies

    assert wait_until(net, lambda: "as it is") == "as it is"
    assert machine.jiffies == start


def test_on_the_model_no_more_time_passes_than_is_needed(machine: Linux, net: Namespace) -> None:
    start = machine.jiffies
    began = time.monotonic()
    with wait_for(net, "...deprecated...", timeout=86400):
        net.addr_add("2001:db8::1", "lo", valid_lft=20000, preferred_lft=10000)

    assert 10000 <= (machine.jiffies - start) / 250 <= 10002
    assert time.monotonic() - began < 60


def test_when_the_time_is_over_so_is_the_wait(kernel: Operations) -> None:
    with pytest.raises(AssertionError, match=r"not said within 0\.05 s"), wait_for(kernel, "...", timeout=0.05):
        pass
    with pytest.raises(AssertionError, match=r"not true within 0\.05 s"):
        wait_until(kernel, lambda: False, timeout=0.05)


def test_missing_messages_are_waited_for(kernel: Operations) -> None:
    with expect_messages(
        kernel, "...2001:db8::1...", "Deleted ...2001:db8::1/64 ...", only={"RTM_DELADDR"}, timeout=30
    ):
        kernel.addr_add("2001:db8::1/64", "lo", valid_lft=1)
        kernel.addr_add("2001:db8::1:1/64", "lo", valid_lft=1)
        kernel.addr_del("2001:db8::1:1/64", "lo")


def test_what_was_said_before_or_in_another_namespace_does_not_count(machine: Linux, net: Namespace) -> None:
    net.link_set("lo", up=True)
    blue = machine.add_net("blue")
    with expect_messages(net) as said:
        blue.link_set("lo", up=True)

    assert said == []


def test_a_block_that_fails_tells_its_own_failure(kernel: Operations) -> None:
    for block in (expect_messages(kernel, "nothing"), wait_for(kernel, "nothing")):
        with pytest.raises(LookupError), block:
            raise LookupError


def test_a_name_that_no_message_has_is_refused(net: Namespace) -> None:
    with pytest.raises(ValueError, match="'RTM_NEWADR' is no message"), expect_messages(net, only=["RTM_NEWADR"]):
        pass


def test_addresses_are_told_with_as_much_as_is_asked(kernel: Operations) -> None:
    kernel.link_set("lo", up=True)
    kernel.addr_add("10.0.0.1/8", "lo")
    kernel.addr_add("2001:db8::1/64", "lo", nodad=True, metric=7)

    wait_until(kernel, lambda: len(kernel.addresses("lo")) == 4, timeout=30)
    assert_addresses(kernel, "lo", "127.0.0.1/8", "10.0.0.1/8", "2001:db8::1/64", "::1/128")
    assert_addresses(kernel, "lo", "...", "10.0.0.1/8 scope ...", "...metric 7 ... nodad", "::1/128 ...")
    for wrong in ("::1/12", "::1", "::1/128 scope global", "::1/128 scope host"):
        with pytest.raises(AssertionError, match="lo has not the addresses"):
            assert_addresses(kernel, "lo", "...", "...", "...", wrong)
