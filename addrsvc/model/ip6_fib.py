"""net/ipv6/ip6_fib.c, the tree of a routing table, for the one thing that its shape shows: who refers to a route.

Routes are found without it (see ip6_route.py), so it is grown only when somebody looks, out of the changes that were
noted meanwhile.  A node whose children part where no route is borrows a route from below, and holds it; which one
depends on what came first.
"""

from collections import Counter
from collections.abc import Iterator

from addrsvc.model.structs import Fib6Info, Fib6Node, Fib6Table

__all__ = ["fib6_borrowed", "fib6_has_node", "note_fib6_change"]

_SLACK = 1024


def note_fib6_change(table: Fib6Table, rt: Fib6Info) -> None:
    """Remember that a route has come to a table or gone from it.  Ours.

    However often routes come and go, no more is remembered than a few changes for each route that is there; and
    nothing when there is none, for then nothing but a root is left of any tree.
    """
    if not rt.in_table:
        table.changes.append(None)
    table.changes.append(rt)
    if not table.routes:
        table.changes, table.root = [], Fib6Node()
    elif len(table.changes) > 2 * len(table.routes) + _SLACK:
        _catch_up(table)


def fib6_borrowed(table: Fib6Table) -> Counter[Fib6Info]:
    """How many nodes of a table's tree have each route as a stand-in.  Ours."""
    _catch_up(table)
    return Counter(node.leaf for node in _nodes(table.root) if not node.routes and node.leaf is not None)


def fib6_has_node(table: Fib6Table, dst: bytes, plen: int) -> bool:
    """Whether the tree has a node for exactly this prefix, be it that only others branch there.

    Kernel: net/ipv6/ip6_fib.c, fib6_locate_1().
    """
    _catch_up(table)
    key, node = int.from_bytes(dst), table.root
    while node.bit < plen and _addr_diff(key, node.key) >= node.bit:
        below = _below(node, key)
        if below is None:
            return False
        node = below
    return node.bit == plen and _addr_diff(key, node.key) >= plen


def _catch_up(table: Fib6Table) -> None:
    changes, table.changes = iter(table.changes), []
    for rt in changes:
        if rt is not None:
            _insert_rt2node(_fib6_add_1(table.root, rt), rt)
        elif (gone := next(changes)) is not None:
            _fib6_del_route(_find(table.root, gone), gone)


def _nodes(node: Fib6Node | None) -> Iterator[Fib6Node]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node is not None:
            yield node
            waiting += (node.left, node.right)


# --- prefixes as numbers --------------------------------------------------------------------------------------------


def _key(rt: Fib6Info) -> int:
    return int.from_bytes(rt.dst)


def _bit(key: int, nth: int) -> int:
    """Kernel: addr_bit_set(), counted from the left."""
    return key >> 127 - nth & 1 if nth < 128 else 0


def _addr_diff(one: int, other: int) -> int:
    """The first bit in which two addresses differ, 128 if in none.  Kernel: __ipv6_addr_diff()."""
    return 128 - (one ^ other).bit_length()


# --- growing --------------------------------------------------------------------------------------------------------


def _fib6_add_1(root: Fib6Node, rt: Fib6Info) -> Fib6Node:
    """The node of a route's prefix; where there is none it is made.

    Kernel: net/ipv6/ip6_fib.c, fib6_add_1().
    """
    key, plen, node = _key(rt), rt.dst_len, root
    while True:
        if plen < node.bit or _addr_diff(key, node.key) < node.bit:
            return _insert_above(node, key, plen)
        if plen == node.bit:
            return node
        below = _below(node, key)
        if below is None:
            return _hang(Fib6Node(key, plen), node, _bit(key, node.bit))
        node = below


def _below(node: Fib6Node, key: int) -> Fib6Node | None:
    return node.right if _bit(key, node.bit) else node.left


def _insert_above(node: Fib6Node, key: int, plen: int) -> Fib6Node:
    """A new node between another and what is above it; beside it, under a node that stands in, if the two part."""
    above = node.parent
    assert above is not None
    side = _bit(node.key, above.bit)
    new = Fib6Node(key, plen)
    parting = _addr_diff(key, node.key)
    if plen <= parting:
        _hang(new, above, side)
        _hang(node, new, _bit(node.key, plen))
        return new
    between = _hang(Fib6Node(node.key, parting, leaf=node.leaf), above, side)
    _hang(node, between, _bit(node.key, parting))
    return _hang(new, between, _bit(key, parting))


def _hang(node: Fib6Node, above: Fib6Node, side: int) -> Fib6Node:
    node.parent = above
    if side:
        above.right = node
    else:
        above.left = node
    return node


def _insert_rt2node(node: Fib6Node, rt: Fib6Info) -> None:
    """Kernel: net/ipv6/ip6_fib.c, fib6_add_rt2node()."""
    after = [nth for nth, other in enumerate(node.routes) if other.metric <= rt.metric]
    node.routes.insert(after[-1] + 1 if after else 0, rt)
    node.leaf = node.routes[0]


def _find(root: Fib6Node, rt: Fib6Info) -> Fib6Node:
    """The node that has a route."""
    key, node = _key(rt), root
    while node.bit != rt.dst_len:
        below = _below(node, key)
        assert below is not None
        node = below
    return node


# --- withering ------------------------------------------------------------------------------------------------------


def _fib6_del_route(node: Fib6Node, rt: Fib6Info) -> None:
    """Kernel: net/ipv6/ip6_fib.c, fib6_del_route()."""
    node.routes.remove(rt)
    start: Fib6Node | None = node
    if node.routes:
        node.leaf = node.routes[0]
    elif node.parent is None:
        node.leaf = None
    else:
        start = _repair_tree(node)
    _purge_rt(rt, start)


def _repair_tree(node: Fib6Node) -> Fib6Node:
    """Take out a node that has no route, and what is above it if that needs it no more.

    Kernel: net/ipv6/ip6_fib.c, fib6_repair_tree().
    """
    while node.parent is not None:
        above = node.parent
        if node.left is not None and node.right is not None:
            node.leaf = node.left.leaf
            return above
        only = node.left or node.right
        side = above.right is node
        if only is not None:
            _hang(only, above, side)
        elif side:
            above.right = None
        else:
            above.left = None
        if above.routes or above.parent is None:
            return above
        node = above
    return node


def _purge_rt(rt: Fib6Info, node: Fib6Node | None) -> None:
    """Let what stood in by a route that is gone stand in by another.

    Kernel: net/ipv6/ip6_fib.c, fib6_purge_rt(), fib6_find_prefix().
    """
    while node is not None:
        if not node.routes and node.leaf is rt:
            below = node.left or node.right
            node.leaf = below.leaf if below is not None else None
        node = node.parent
