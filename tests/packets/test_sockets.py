"""Sockets of UDP, bound where they may be and where they may not, on both kernels."""

import socket
from collections.abc import Sequence

import pytest
from netaddr import IPAddress

from addrsvc.errors import KernelError
from addrsvc.mirror.netns import run_in
from addrsvc.model.udp import udp_bind, udp_create
from addrsvc.uapi import AF_INET, AF_INET6
from tests.packets.modelled import ModelLo
from tests.packets.running import RunningLo

Names = Sequence[tuple[str, int]]

BINDS: dict[str, Names] = {
    "::1": [("::1", 5000)],
    "127.0.0.1": [("127.0.0.1", 5000)],
    "all of IPv6": [("::", 5000)],
    "all of IPv4": [("0.0.0.0", 5000)],
    "somebody else's of IPv6": [("2001:db8::1", 5000)],
    "somebody else's of IPv4": [("192.0.2.1", 5000)],
    "another of 127.0.0.0/8": [("127.9.9.9", 5000)],
    "a group of the link": [("ff02::1", 5000)],
    "a group of this host": [("ff01::1", 5000)],
    "a group of the world": [("ff0e::1", 5000)],
    "a link-local address": [("fe80::1", 5000)],
    "a group of IPv4": [("224.0.0.1", 5000)],
    "everybody of IPv4": [("255.255.255.255", 5000)],
    "twice": [("::1", 5000), ("::1", 5000)],
    "first one, then all": [("127.0.0.1", 5000), ("0.0.0.0", 5000)],
    "one each": [("127.0.0.1", 5000), ("127.0.0.2", 5000)],
}


def running_errno(name: tuple[str, int], sockets: list[socket.socket]) -> int:
    family = socket.AF_INET6 if ":" in name[0] else socket.AF_INET
    sockets.append(socket.socket(family, socket.SOCK_DGRAM))
    try:
        sockets[-1].bind(name)
    except OSError as error:
        return error.errno or 0
    return 0


def running_errnos(names: Names) -> list[int]:
    sockets: list[socket.socket] = []
    try:
        return [running_errno(name, sockets) for name in names]
    finally:
        for sock in sockets:
            sock.close()


def model_errno(lo: ModelLo, name: tuple[str, int]) -> int:
    packed = IPAddress(name[0]).packed
    try:
        udp_bind(udp_create(lo.net.net, AF_INET6 if len(packed) == 16 else AF_INET), packed, name[1])
    except KernelError as error:
        return error.errno or 0
    return 0


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("names", BINDS.values(), ids=BINDS)
def test_a_socket_is_bound_alike(names: Names, up: bool, running: RunningLo, model: ModelLo) -> None:
    for lo in (running, model):
        lo.up(up)

    assert [model_errno(model, name) for name in names] == run_in(running.netns, lambda: running_errnos(names))
