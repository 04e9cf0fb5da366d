"""The examples that the README gives to those who write tests, each run as a test module of its own."""

from tests.pytest_plugin.conftest import Inner

EXAMPLES = {
    "one_body_two_kernels": """
        from addrsvc.pytest_plugin import assert_addresses, expect_messages


        def test_lo_coming_up_brings_the_loopback_addresses(kernel):
            with expect_messages(
                kernel,
                "1: lo    inet 127.0.0.1/8 ...",
                "1: lo    inet6 ::1/128 ...",
                only=["RTM_NEWADDR"],
            ):
                kernel.link_set("lo", up=True)

            assert_addresses(kernel, "lo", "127.0.0.1/8", "::1/128 scope host proto kernel_lo")
    """,
    "pyroute2_on_both": '''
        from addrsvc.pytest_plugin import assert_addresses


        def give_address(ipr, address, prefixlen):
            """The code under test: it only knows pyroute2."""
            (lo,) = ipr.link_lookup(ifname="lo")
            ipr.link("set", index=lo, state="up")
            ipr.addr("add", index=lo, address=address, prefixlen=prefixlen)


        def test_the_address_is_there(iproute, kernel):
            give_address(iproute, "2001:db8::1", 64)

            assert_addresses(kernel, "lo", "127.0.0.1/8", "2001:db8::1/64 ...", "::1/128")
    ''',
    "waiting_instead_of_sleeping": """
        from addrsvc.pytest_plugin import wait_for, wait_until


        def test_an_address_is_deprecated_and_then_gone(kernel):
            with wait_for(kernel, "...2001:db8::1/128 ... deprecated ..."):
                kernel.addr_add("2001:db8::1", "lo", valid_lft=2, preferred_lft=1)

            wait_until(kernel, lambda: not kernel.addresses("lo"))
    """,
    "the_model_alone": """
        import pytest
        from addrsvc.errors import KernelError

        def test_a_month_takes_no_time(machine, net):
            net.addr_add("2001:db8::1", "lo", valid_lft=30 * 86400)
            machine.advance(30 * 86400 + 1)

            assert net.addresses("lo") == []

        def test_a_refusal_has_the_kernels_words(net):
            net.link_set("lo", up=True)
            with pytest.raises(KernelError, match="ipv6: address already assigned"):
                net.addr_add("::1/128", "lo")
    """,
    "a_fault_on_demand": """
        from errno import ENOMEM

        import pytest
        from pyroute2.netlink.exceptions import NetlinkError

        from addrsvc.pyroute import iproute


        def test_a_kernel_out_of_memory(machine, net):
            machine.faults.fail("RTM_NEWADDR", errno=ENOMEM)
            with iproute(net) as ipr, pytest.raises(NetlinkError) as refused:
                ipr.addr("add", index=1, address="2001:db8::1", prefixlen=64)

            assert refused.value.code == ENOMEM
    """,
    "inside_a_namespace": """
        import subprocess, socket
        import pytest
        from addrsvc.mirror.netns import run_in

        @pytest.mark.needs_netns
        def test_a_program_and_a_socket_inside(netns):
            run_in(netns, lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
            with run_in(netns, lambda: socket.create_server(("127.0.0.1", 0))) as server:
                assert server.getsockname()[0] == "127.0.0.1"
    """,
    "nothing_left_behind": """
        import pytest

        pytestmark = pytest.mark.usefixtures("leak_check")

        def test_that_closes_what_it_opens(netns):
            netns.dup().close()
    """,
}


def test_the_examples_run(inner: Inner, netns: object) -> None:
    for name, module in EXAMPLES.items():
        inner.write(module, f"test_{name}.py")
    done = inner.run("-q", "--netns=require")

    assert done.stdout.splitlines()[-1].startswith("11 passed in "), done.stdout


def test_without_namespaces_they_run_on_the_model(inner: Inner) -> None:
    for name, module in EXAMPLES.items():
        inner.write(module, f"test_{name}.py")
    done = inner.run("-q", "--netns=off")

    assert done.stdout.splitlines()[-1].startswith("6 passed, 5 skipped in "), done.stdout
