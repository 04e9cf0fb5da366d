"""Well-formed requests, at random: a table of makers with weights, each of them one kind of request.

What they ask may be refused, but no length lies and no attribute is cut; `mutations` sees to that.
"""

import re
from collections.abc import Mapping
from random import Random
from typing import Final

from tests.fidelity.requests.addresses import (
    changeaddr_other,
    deladdr4,
    deladdr6,
    dump_of,
    get_group,
    getaddr,
    newaddr4,
    newaddr6,
)
from tests.fidelity.requests.links import (
    create_link,
    dellink,
    down,
    getlink,
    getlink_dump,
    link_flags,
    linkprop,
    move_link,
    newlink,
    noarp,
    rename_back,
    setlink,
    up,
)
from tests.fidelity.requests.neighbours import (
    NTF_PROXY,
    addrlabel,
    change_fdb,
    change_neigh,
    getneigh,
    getneightbl,
    setneightbl,
)
from tests.fidelity.requests.objects import OBJECTS
from tests.fidelity.requests.others import any_type, control, getnetconf, getrule, getstats, nsid
from tests.fidelity.requests.parts import AF_BRIDGE, AF_INET, AF_INET6, Maker
from tests.fidelity.requests.routes import change_rule, delroute, getroute, getroute_dump, newroute
from tests.fidelity.wire import DUMP, REQUEST, Message, u8, u32

__all__ = ["REQUESTS", "Repertoire"]

# One row per kind of request.
REQUESTS: Final[Mapping[str, tuple[float, Maker]]] = {
    "NEWLINK": (12, newlink),
    "SETLINK": (3, setlink),
    "link flags": (7, link_flags),
    "up": (9, up),
    "down": (3, down),
    "rename back": (2, rename_back),
    "NOARP": (0.7, noarp),
    "create link": (2.5, create_link),
    "move link": (1, move_link),
    "DELLINK": (1.5, dellink),
    "LINKPROP": (3, linkprop),
    "GETLINK": (4, getlink),
    "GETLINK dump": (5, getlink_dump),
    "NEWADDR inet6": (18, newaddr6),
    "DELADDR inet6": (8, deladdr6),
    "NEWADDR inet": (7, newaddr4),
    "DELADDR inet": (4, deladdr4),
    "NEW/DELADDR other family": (0.7, changeaddr_other),
    "GETADDR": (4, getaddr),
    "GETADDR dump": (5, dump_of(22)),
    "GETMULTICAST dump": (2, dump_of(58)),
    "GETANYCAST dump": (2, dump_of(62)),
    "GETMULTICAST/GETANYCAST": (0.4, get_group),
    "GETROUTE dump": (6, getroute_dump),
    "GETROUTE": (7, getroute),
    "NEWROUTE": (4, newroute),
    "DELROUTE": (2, delroute),
    "NEWRULE, DELRULE": (2, change_rule),
    "GETNEIGH": (3, getneigh),
    "NEWNEIGH, DELNEIGH": (4, change_neigh),
    "NEWNEIGH, DELNEIGH of a device's addresses": (1.5, change_fdb),
    "GETNEIGHTBL": (1.5, getneightbl),
    "SETNEIGHTBL": (1.5, setneightbl),
    "address labels": (2.5, addrlabel),
    "GETRULE": (2.5, getrule),
    "GETNETCONF": (3, getnetconf),
    "GETSTATS": (3, getstats),
    "NSID": (2.5, nsid),
    **OBJECTS,
    "any type": (3, any_type),
    "control": (1, control),
}


_EVERYTHING: Final = (
    ("GETLINK dump", 18, bytes(16)),
    ("GETLINK dump", 18, u8(AF_INET6) + bytes(15)),
    ("GETADDR dump", 22, bytes(8)),
    ("GETROUTE dump", 26, u8(AF_INET) + bytes(11)),
    ("GETROUTE dump", 26, u8(AF_INET6) + bytes(11)),
    ("GETMULTICAST dump", 58, u8(AF_INET) + bytes(7)),
    ("GETMULTICAST dump", 58, u8(AF_INET6) + bytes(7)),
    ("GETANYCAST dump", 62, u8(AF_INET6) + bytes(7)),
    ("GETNEIGH", 30, bytes(12)),
    ("GETNEIGH, proxies", 30, bytes(10) + u8(NTF_PROXY) + bytes(1)),
    ("GETNEIGH, forwarding databases", 30, u8(AF_BRIDGE) + bytes(11)),
    ("GETNEIGHTBL", 66, bytes(4)),
    ("address labels", 74, u8(AF_INET6) + bytes(11)),
    ("GETRULE", 34, bytes(12)),
    ("GETNETCONF", 82, u8(AF_INET) + bytes(3)),
    ("GETNETCONF", 82, u8(AF_INET6) + bytes(3)),
    ("NSID", 90, bytes(4)),
    ("GETSTATS", 94, bytes(8) + u32(31)),
    ("traffic control", 38, bytes(20)),
)


class Repertoire:
    """Requests of all kinds, or of those whose name `only` matches.

    Attributes:
        dumps: the requests whose answers are all that a namespace holds.
    """

    def __init__(self, only: str = "") -> None:
        self._rows = {name: row for name, row in REQUESTS.items() if re.search(only, name)}
        self._weights = [weight for weight, _ in self._rows.values()]
        self.dumps = [
            Message(nlmsg_type, REQUEST | DUMP, head, seq=0x5EC)
            for name, nlmsg_type, head in _EVERYTHING
            if re.search(only, name)
        ]

    def request(self, rng: Random) -> tuple[str, Message]:
        """Of which kind it is, and a request."""
        (name,) = rng.choices(list(self._rows), self._weights)
        return name, self._rows[name][1](rng)

    def dump(self, rng: Random) -> Message:
        """One of the dumps, or any request where there is none."""
        return rng.choice(self.dumps) if self.dumps else self.request(rng)[1]
