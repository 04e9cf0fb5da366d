"""Datagrams that no kernel sends: the keeper takes them for what they are, and heals as before."""

import os
import random

from addrsvc.keeper.kept import LOOPBACK
from addrsvc.keeper.messages import DELETE_LOOPBACK, LO_DOWN, deladdr, newaddr
from addrsvc.keeper.rtnl import Requests, open_rtnl
from addrsvc.keeper.wanted import FightLimits, Wanted
from addrsvc.keeper.watch import GROUPS
from addrsvc.mirror.netns import NetNs
from tests.keeper.keeping import keeping, service
from tests.keeper.test_keep import ONE, ONE_SERVICE, SOMEBODY_ELSE, TWO, V4

COUNT = 10_000
WANTED = Wanted(addresses=dict([(ONE, ONE_SERVICE), service("192.0.2.1")]), fights=FightLimits(reversals=1_000_000))


def said(netns: NetNs, requests: Requests) -> list[bytes]:
    """What a kernel says of all that can happen, while nobody keeps the namespace."""
    messages = []
    with open_rtnl(netns.fileno(), groups=GROUPS) as sock:
        requests.ask([newaddr(TWO[0], proto=SOMEBODY_ELSE), deladdr(*TWO), deladdr(*V4), DELETE_LOOPBACK, LO_DOWN])
        try:
            while True:
                messages.append(sock.recv(1 << 16))
        except BlockingIOError:
            return messages


def mutated(message: bytes, chance: random.Random) -> bytes:
    """The message with some bytes changed, most of them in its headers, and sometimes cut short."""
    data = bytearray(message)
    for _ in range(chance.randrange(6)):
        data[chance.randrange(min(len(data), chance.choice((64, 1 << 16))))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data)) if chance.random() < 0.3 else len(data)])


def test_it_heals_after_ten_thousand_of_them(netns: NetNs, requests: Requests) -> None:
    chance = random.Random(0)
    with keeping(netns, WANTED):
        pass
    templates = said(netns, requests)
    with keeping(netns, WANTED) as kept:
        (namespace,) = kept.keeper
        for number in range(COUNT):
            garbage = os.urandom(chance.randrange(200))
            message = mutated(chance.choice(templates), chance) if number % 10 else garbage
            kept.keeper.heard(namespace, message)
            if number % 100 == 0:
                kept.loop.turn()
        kept.quiet()
        kept.keeper.look(namespace.label)
        requests.ask([DELETE_LOOPBACK, deladdr(*ONE)])
        kept.until(lambda: requests.addresses().keys() >= {LOOPBACK, ONE})
        assert kept.keeper.status(namespace.label).state == "kept"
