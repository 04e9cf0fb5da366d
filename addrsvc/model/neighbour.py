"""net/core/neighbour.c: tables of neighbours, what is known of each of them, and for how long that counts.

What a new neighbour is like at first, its family says (`arp`, `ndisc`).
Differs: nothing is sent to find out where a neighbour is, so that who is probed fails; nobody is collected for his age.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from errno import EEXIST, EINVAL, ENOBUFS, ENOENT
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.model.rtnl import rtnl_notify, rtnl_notify_portid
from addrsvc.model.structs import Machine, Neighbour, NeighParms, NeighTable, Net, NetDevice, PneighEntry
from addrsvc.model.timer import HZ, Timer, del_timer, jiffies_to_clock_t, mod_timer
from addrsvc.netlink.messages import NdaCacheinfo, NeighMsg
from addrsvc.uapi import (
    NDTPA_ANYCAST_DELAY,
    NDTPA_APP_PROBES,
    NDTPA_BASE_REACHABLE_TIME,
    NDTPA_DELAY_PROBE_TIME,
    NDTPA_GC_STALETIME,
    NDTPA_INTERVAL_PROBE_TIME_MS,
    NDTPA_LOCKTIME,
    NDTPA_MCAST_PROBES,
    NDTPA_MCAST_REPROBES,
    NDTPA_PROXY_DELAY,
    NDTPA_PROXY_QLEN,
    NDTPA_QUEUE_LENBYTES,
    NDTPA_RETRANS_TIME,
    NDTPA_UCAST_PROBES,
    NTF_EXT_LEARNED,
    NTF_EXT_SHIFT,
    NTF_EXT_VALIDATED,
    NTF_MANAGED,
    NTF_OLD_MASK,
    NTF_PROXY,
    NTF_ROUTER,
    NTF_USE,
    NUD_DELAY,
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_NONE,
    NUD_PERMANENT,
    NUD_PROBE,
    NUD_REACHABLE,
    NUD_STALE,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    RTN_UNICAST,
)

__all__ = [
    "NeighRequest", "neigh_add", "neigh_carrier_down", "neigh_changeaddr", "neigh_create_noref", "neigh_delete",
    "neigh_dump", "neigh_fill_info", "neigh_ifdown", "neigh_learn", "neigh_lookup", "neigh_parms_alloc",
    "neigh_parms_release", "neigh_rand_reach_time", "neigh_table_init", "pneigh_dump", "pneigh_fill_info",
    "pneigh_lookup",
]  # fmt: skip

NUD_IN_TIMER: Final = NUD_INCOMPLETE | NUD_REACHABLE | NUD_DELAY | NUD_PROBE
NUD_VALID: Final = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY
NUD_CONNECTED: Final = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE
_KEPT_FLAGS: Final = NTF_EXT_LEARNED | NTF_MANAGED | NTF_EXT_VALIDATED

_DEFAULTS: Final = {
    NDTPA_QUEUE_LENBYTES: 212992,
    NDTPA_PROXY_QLEN: 64,
    NDTPA_APP_PROBES: 0,
    NDTPA_UCAST_PROBES: 3,
    NDTPA_MCAST_PROBES: 3,
    NDTPA_MCAST_REPROBES: 0,
    NDTPA_BASE_REACHABLE_TIME: 30 * HZ,
    NDTPA_GC_STALETIME: 60 * HZ,
    NDTPA_DELAY_PROBE_TIME: 5 * HZ,
    NDTPA_RETRANS_TIME: HZ,
    NDTPA_ANYCAST_DELAY: HZ,
    NDTPA_PROXY_DELAY: 8 * HZ // 10,
    NDTPA_LOCKTIME: 0,
    NDTPA_INTERVAL_PROBE_TIME_MS: 5 * HZ,
}


# --- tables and parameters --------------------------------------------------------------------------------------------


def neigh_rand_reach_time(machine: Machine, base: int) -> int:
    """How long a neighbour counts as reachable, in jiffies: half to one and a half times the base.

    Kernel: net/core/neighbour.c, neigh_rand_reach_time().
    """
    return machine.chance.randrange(base) + base // 2 if base else 0


def neigh_table_init(
    machine: Machine, family: int, name: str, *, key_len: int, entry_size: int, locktime: int = 0
) -> NeighTable:
    """Make the table of a family; whoever does fills in what its neighbours are like.

    Kernel: net/core/neighbour.c, neigh_table_init().
    """
    now = machine.timers.jiffies
    data = _DEFAULTS | {NDTPA_LOCKTIME: locktime}
    tbl = NeighTable(
        family,
        name,
        key_len=key_len,
        entry_size=entry_size,
        parms=NeighParms(None, data, neigh_rand_reach_time(machine, data[NDTPA_BASE_REACHABLE_TIME])),
        hash_rnd=machine.chance.randrange(1 << 32) | 1,
        last_flush=now,
        last_rand=now,
        gc_interval=30 * HZ,
    )
    machine.neigh_tables[family] = tbl
    return tbl


def neigh_parms_alloc(dev: NetDevice, tbl: NeighTable) -> NeighParms:
    """Give a device parameters of its own.

    Kernel: net/core/neighbour.c, neigh_parms_alloc().
    """
    base = tbl.parms.data[NDTPA_BASE_REACHABLE_TIME]
    parms = NeighParms(dev, dict(tbl.parms.data), neigh_rand_reach_time(dev.machine, base))
    tbl.parms_list.insert(0, parms)
    return parms


def neigh_parms_release(tbl: NeighTable, parms: NeighParms) -> None:
    """Take them back.

    Kernel: net/core/neighbour.c, neigh_parms_release().
    """
    tbl.parms_list.remove(parms)


# --- neighbours as messages -------------------------------------------------------------------------------------------


def neigh_fill_info(neigh: Neighbour, nlmsg_type: int = RTM_NEWNEIGH) -> NeighMsg:
    """A neighbour as a message.

    Kernel: net/core/neighbour.c, neigh_fill_info().
    """
    now = neigh.dev.machine.timers.jiffies
    armed = neigh.timer is not None and neigh.timer.armed is not None
    return NeighMsg(
        nlmsg_type=nlmsg_type,
        ndm_family=neigh.tbl.family,
        ndm_ifindex=neigh.dev.ifindex,
        ndm_state=neigh.nud_state,
        ndm_flags=neigh.flags & NTF_OLD_MASK,
        ndm_type=neigh.type,
        dst=neigh.primary_key,
        lladdr=neigh.ha if neigh.nud_state & NUD_VALID else None,
        probes=neigh.probes,
        cacheinfo=NdaCacheinfo(
            confirmed=jiffies_to_clock_t(now - neigh.confirmed),
            used=jiffies_to_clock_t(now - neigh.used),
            updated=jiffies_to_clock_t(now - neigh.updated),
            refcnt=neigh.held + armed,
        ),
        protocol=neigh.protocol or None,
        flags_ext=neigh.flags >> NTF_EXT_SHIFT or None,
    )


def pneigh_fill_info(tbl: NeighTable, pn: PneighEntry) -> NeighMsg:
    """A proxy entry as a message.

    Kernel: net/core/neighbour.c, pneigh_fill_info().
    """
    return NeighMsg(
        ndm_family=tbl.family,
        ndm_ifindex=pn.dev.ifindex if pn.dev is not None else 0,
        ndm_state=NUD_NONE,
        ndm_flags=pn.flags & NTF_OLD_MASK | NTF_PROXY,
        ndm_type=RTN_UNICAST,
        dst=pn.key,
        protocol=pn.protocol or None,
        flags_ext=pn.flags >> NTF_EXT_SHIFT or None,
    )


def neigh_dump(net: Net, tbl: NeighTable) -> Iterator[Neighbour]:
    """The neighbours that a namespace has.

    Kernel: net/core/neighbour.c, neigh_dump_table().
    Differs: the oldest first, where the kernel goes by a hash that begins at random.
    """
    return (neigh for neigh in list(tbl.entries.values()) if neigh.dev.net is net)


def pneigh_dump(net: Net, tbl: NeighTable) -> Iterator[PneighEntry]:
    """The proxy entries that a namespace has, bucket by bucket, the newest of each first.

    Kernel: net/core/neighbour.c, pneigh_dump_table().
    """
    return (pn for pn in _buckets(tbl) if pn.net is net)


def _buckets(tbl: NeighTable) -> list[PneighEntry]:
    return sorted(tbl.phash_buckets, key=lambda pn: _pneigh_hash(pn.key))


def _pneigh_hash(key: bytes) -> int:
    """All half bytes of the last four bytes together.

    Kernel: net/core/neighbour.c, pneigh_hash().
    """
    folded = key[-4] ^ key[-3] ^ key[-2] ^ key[-1]
    return (folded ^ folded >> 4) & 0xF


def _neigh_update_notify(neigh: Neighbour, *, asked: bool) -> None:
    """Kernel: net/core/neighbour.c, neigh_update_notify(), __neigh_notify()."""
    (rtnl_notify_portid if asked else rtnl_notify)(neigh.dev.net, neigh_fill_info(neigh))


# --- coming and going -------------------------------------------------------------------------------------------------


def neigh_lookup(tbl: NeighTable, pkey: bytes, dev: NetDevice) -> Neighbour | None:
    """The neighbour with an address on a device, if it is known.

    Kernel: net/core/neighbour.c, neigh_lookup().
    """
    tbl.stats["lookups"] += 1
    neigh = tbl.entries.get((dev, pkey))
    tbl.stats["hits"] += neigh is not None
    return neigh


def _neigh_create(tbl: NeighTable, pkey: bytes, dev: NetDevice, flags: int) -> Neighbour:
    """A new neighbour; the one that is there, if its family takes the address for another one.

    Kernel: net/core/neighbour.c, ___neigh_create(), neigh_alloc().
    """
    now = dev.machine.timers.jiffies
    neigh = Neighbour(tbl, tbl.parms, dev, pkey, bytes(dev.addr_len), used=now, confirmed=now, updated=now, flags=flags)
    tbl.stats["allocs"] += 1
    assert tbl.constructor is not None
    tbl.constructor(neigh)
    neigh.confirmed = now - 2 * neigh.parms.data[NDTPA_BASE_REACHABLE_TIME]
    if len(tbl.entries) > 1 << tbl.hash_shift:
        tbl.hash_shift += 1
        tbl.stats["hash_grows"] += 1
    return tbl.entries.setdefault((dev, neigh.primary_key), neigh)


def neigh_create_noref(tbl: NeighTable, pkey: bytes, dev: NetDevice) -> Neighbour:
    """Whom a packet goes to, who is known from then on; nobody is told of that.

    Kernel: include/net/ndisc.h, ip_neigh_gw6(); net/core/neighbour.c, __neigh_create().

    Raises:
        KernelError: EINVAL, the device has no neighbours in this family.
    """
    return neigh_lookup(tbl, pkey, dev) or _neigh_create(tbl, pkey, dev, 0)


def neigh_learn(tbl: NeighTable, pkey: bytes, dev: NetDevice, lladdr: bytes) -> None:
    """Have a neighbour be where somebody says, who need not be right for good.  Ours."""
    neigh = neigh_create_noref(tbl, pkey, dev)
    _Change(neigh, _Update(override=True, admin=True), asked=False).make(lladdr, NUD_STALE)


def _neigh_remove_one(neigh: Neighbour) -> None:
    """Kernel: net/core/neighbour.c, neigh_remove_one(), neigh_cleanup_and_release()."""
    del neigh.tbl.entries[neigh.dev, neigh.primary_key]
    _del_timer(neigh)
    neigh.tbl.stats["destroys"] += 1
    rtnl_notify(neigh.dev.net, neigh_fill_info(neigh, RTM_DELNEIGH))


def _neigh_flush_dev(tbl: NeighTable, dev: NetDevice, *, skip_perm: bool = False) -> None:
    """Kernel: net/core/neighbour.c, neigh_flush_dev()."""
    for neigh in reversed([neigh for neigh in tbl.entries.values() if neigh.dev is dev]):
        if not (skip_perm and (neigh.nud_state & NUD_PERMANENT or neigh.flags & NTF_EXT_VALIDATED)):
            _neigh_remove_one(neigh)


def neigh_changeaddr(tbl: NeighTable, dev: NetDevice) -> None:
    """A device has a new hardware address: its neighbours have to be found again.

    Kernel: net/core/neighbour.c, neigh_changeaddr().
    """
    _neigh_flush_dev(tbl, dev)


def neigh_carrier_down(tbl: NeighTable, dev: NetDevice) -> None:
    """A device has lost its link: only what was told for good still counts.

    Kernel: net/core/neighbour.c, neigh_carrier_down().
    """
    _neigh_flush_dev(tbl, dev, skip_perm=True)
    _pneigh_ifdown(tbl, dev, skip_perm=True)


def neigh_ifdown(tbl: NeighTable, dev: NetDevice) -> None:
    """A device goes down: it has no neighbours.

    Kernel: net/core/neighbour.c, neigh_ifdown().
    """
    _neigh_flush_dev(tbl, dev)
    _pneigh_ifdown(tbl, dev)


# --- states -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Update:
    """NEIGH_UPDATE_F_*: by what right a neighbour is changed."""

    override: bool = False
    override_isrouter: bool = False
    admin: bool = False
    flags: int = 0
    """NTF_* that are wanted."""


class _Change:
    """One change of a neighbour: __neigh_update() and what it keeps track of."""

    def __init__(self, neigh: Neighbour, how: _Update, *, asked: bool) -> None:
        self._neigh, self._how, self._asked, self._notify = neigh, how, asked, False
        self._now = neigh.dev.machine.timers.jiffies

    def make(self, lladdr: bytes | None, new: int) -> None:
        """Kernel: net/core/neighbour.c, __neigh_update(): what has changed is told of, even if the rest is refused."""
        try:
            self._change(lladdr, new)
        finally:
            if self._notify:
                _neigh_update_notify(self._neigh, asked=self._asked)

    def _change(self, lladdr: bytes | None, new: int) -> None:
        neigh, how = self._neigh, self._how
        old = neigh.nud_state
        if not how.admin and old & (NUD_NOARP | NUD_PERMANENT):
            return
        if how.admin:
            self._update_flags()
        if how.flags & (NTF_USE | NTF_MANAGED):
            neigh.nud_state = old & ~NUD_PERMANENT
        elif not new & NUD_VALID:
            self._invalidate(new)
        elif not lladdr and neigh.dev.addr_len and not old & NUD_VALID:
            raise KernelError(EINVAL, "No link layer address given")
        else:
            self._validate(neigh.ha if lladdr is None else lladdr[: neigh.dev.addr_len], new)

    def _update_flags(self) -> None:
        """Kernel: net/core/neighbour.c, neigh_update_flags()."""
        wanted = self._how.flags & _KEPT_FLAGS
        if self._neigh.flags & _KEPT_FLAGS != wanted:
            self._neigh.flags = self._neigh.flags & ~_KEPT_FLAGS | wanted
            self._notify = True

    def _invalidate(self, new: int) -> None:
        neigh, old = self._neigh, self._neigh.nud_state
        _del_timer(neigh)
        neigh.nud_state = new
        self._notify = bool(old & NUD_VALID)
        if old & (NUD_INCOMPLETE | NUD_PROBE) and new & NUD_FAILED:
            _neigh_invalidate(neigh)
            self._notify = True

    def _validate(self, lladdr: bytes, new: int) -> None:
        neigh, old = self._neigh, self._neigh.nud_state
        if new & NUD_CONNECTED:
            neigh.confirmed = self._now
        moved = lladdr != neigh.ha or not old & NUD_VALID
        if old & NUD_VALID and moved and not self._how.override:
            return
        if old & NUD_VALID and not moved and new == NUD_STALE and not self._how.admin:
            new = old
        if new != old or moved:
            neigh.updated = self._now
        if new != old:
            self._enter(new)
        if moved:
            self._move(lladdr, new)
        if self._how.override_isrouter:
            self._update_is_router()

    def _enter(self, new: int) -> None:
        neigh = self._neigh
        _del_timer(neigh)
        if new & NUD_PROBE:
            neigh.probes = 0
        if new & NUD_IN_TIMER:
            _add_timer(neigh, self._now + (neigh.parms.reachable_time if new & NUD_REACHABLE else 0))
        neigh.nud_state = new
        self._notify = True

    def _move(self, lladdr: bytes, new: int) -> None:
        self._neigh.ha = lladdr
        if not new & NUD_CONNECTED:
            self._neigh.confirmed = self._now - 2 * self._neigh.parms.data[NDTPA_BASE_REACHABLE_TIME]
        self._notify = True

    def _update_is_router(self) -> None:
        """Kernel: net/core/neighbour.c, neigh_update_is_router()."""
        wanted = self._how.flags & NTF_ROUTER
        if self._neigh.flags & NTF_ROUTER != wanted:
            self._neigh.flags ^= NTF_ROUTER
            self._notify = True


def _neigh_invalidate(neigh: Neighbour) -> None:
    """Kernel: net/core/neighbour.c, neigh_invalidate()."""
    neigh.tbl.stats["res_failed"] += 1
    neigh.updated = neigh.dev.machine.timers.jiffies


def _event_send(neigh: Neighbour) -> None:
    """A packet wants to go there.

    Kernel: net/core/neighbour.c, __neigh_event_send().
    """
    now, data = neigh.dev.machine.timers.jiffies, neigh.parms.data
    neigh.used = now
    if neigh.nud_state & (NUD_CONNECTED | NUD_DELAY | NUD_PROBE | NUD_INCOMPLETE):
        return
    _del_timer(neigh)
    neigh.updated = now
    if neigh.nud_state & NUD_STALE:
        neigh.nud_state = NUD_DELAY
        _add_timer(neigh, now + data[NDTPA_DELAY_PROBE_TIME])
    elif data[NDTPA_MCAST_PROBES] + data[NDTPA_APP_PROBES]:
        neigh.nud_state, neigh.probes = NUD_INCOMPLETE, data[NDTPA_UCAST_PROBES] + 1
        _add_timer(neigh, now + max(data[NDTPA_RETRANS_TIME], HZ // 100))
    else:
        neigh.nud_state = NUD_FAILED


# --- time -------------------------------------------------------------------------------------------------------------


def _del_timer(neigh: Neighbour) -> None:
    if neigh.timer is not None:
        del_timer(neigh.timer)


def _add_timer(neigh: Neighbour, expires: int) -> None:
    if neigh.timer is None:
        neigh.timer = Timer(lambda: _timer_handler(neigh))
    timers = neigh.dev.machine.timers
    mod_timer(timers, neigh.timer, max(expires, timers.jiffies + 1))


def _timer_handler(neigh: Neighbour) -> None:
    """Kernel: net/core/neighbour.c, neigh_timer_handler()."""
    before, now = neigh.nud_state, neigh.dev.machine.timers.jiffies
    expires = _next_state(neigh, now)
    notify = neigh.nud_state != before and neigh.nud_state != NUD_DELAY
    if neigh.nud_state & (NUD_INCOMPLETE | NUD_PROBE) and neigh.probes >= _max_probes(neigh):
        _give_up(neigh, now)
        notify = True
    elif neigh.nud_state & NUD_IN_TIMER:
        _add_timer(neigh, max(expires, now + HZ // 100))
        if neigh.nud_state & (NUD_INCOMPLETE | NUD_PROBE):
            neigh.probes += 1
    if notify:
        neigh.held += 1
        _neigh_update_notify(neigh, asked=False)
        neigh.held -= 1


def _next_state(neigh: Neighbour, now: int) -> int:
    """The state that follows, and when to look again."""
    data, alive = neigh.parms.data, neigh.confirmed + neigh.parms.reachable_time
    delay, retrans = data[NDTPA_DELAY_PROBE_TIME], max(data[NDTPA_RETRANS_TIME], HZ // 100)
    if neigh.nud_state & NUD_REACHABLE:
        if now <= alive:
            return alive
        in_use = now <= neigh.used + delay
        neigh.nud_state, neigh.updated = NUD_DELAY if in_use else NUD_STALE, now
        return now + delay
    if neigh.nud_state & NUD_DELAY:
        neigh.updated = now
        if now <= neigh.confirmed + delay:
            neigh.nud_state = NUD_REACHABLE
            return alive
        neigh.nud_state, neigh.probes = NUD_PROBE, 0
    return now + retrans


def _max_probes(neigh: Neighbour) -> int:
    """Kernel: net/core/neighbour.c, neigh_max_probes()."""
    data = neigh.parms.data
    again = NDTPA_MCAST_REPROBES if neigh.nud_state & NUD_PROBE else NDTPA_MCAST_PROBES
    return data[NDTPA_UCAST_PROBES] + data[NDTPA_APP_PROBES] + data[again]


def _give_up(neigh: Neighbour, now: int) -> None:
    if neigh.nud_state == NUD_PROBE and neigh.flags & NTF_EXT_VALIDATED:
        neigh.nud_state, neigh.updated = NUD_STALE, now
    else:
        neigh.nud_state = NUD_FAILED
        _neigh_invalidate(neigh)


# --- requests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NeighRequest:
    """What RTM_NEWNEIGH and RTM_DELNEIGH say of a neighbour.

    Attributes:
        flags: NTF_*, those of NDA_FLAGS_EXT shifted by NTF_EXT_SHIFT.
    """

    tbl: NeighTable
    dst: bytes
    dev: NetDevice | None
    state: int = NUD_NONE
    flags: int = 0
    lladdr: bytes | None = None
    protocol: int = 0
    create: bool = False
    excl: bool = False
    replace: bool = False


def neigh_add(net: Net, request: NeighRequest) -> None:
    """Add a neighbour or change it.

    Kernel: net/core/neighbour.c, neigh_add().

    Raises:
        KernelError: EINVAL, no such neighbour can be; ENOENT, EEXIST, as the request wants it.
    """
    if request.flags & NTF_PROXY:
        _pneigh_add(net, request)
        return
    tbl, dev, flags = request.tbl, request.dev, request.flags
    if dev is None:
        raise KernelError(EINVAL, "Device not specified")
    if tbl.allow_add is not None:
        tbl.allow_add(dev)
    neigh = neigh_lookup(tbl, request.dst, dev)
    override = True
    if neigh is None:
        if not request.create:
            raise KernelError(ENOENT)
        if request.state & NUD_PERMANENT and flags & NTF_MANAGED:
            raise KernelError(EINVAL, "Invalid NTF_* flag for permanent entry")
        if _is_wrongly_validated(request, NUD_NONE):
            raise KernelError(EINVAL, "Cannot create externally validated neighbor with an invalid state")
        neigh = _neigh_create(tbl, request.dst, dev, flags & _KEPT_FLAGS)
    else:
        if request.excl:
            raise KernelError(EEXIST)
        if _is_wrongly_validated(request, neigh.nud_state & ~NUD_PERMANENT):
            raise KernelError(EINVAL, "Cannot mark neighbor as externally validated with an invalid state")
        override = request.replace
    neigh.protocol = request.protocol or neigh.protocol
    how = _Update(override=override, override_isrouter=override, admin=True, flags=flags)
    neigh.held += 1
    try:
        _Change(neigh, how, asked=True).make(request.lladdr, request.state)
    finally:
        neigh.held -= 1
    if flags & (NTF_USE | NTF_MANAGED):
        _event_send(neigh)


def _is_wrongly_validated(request: NeighRequest, before: int) -> bool:
    """Whether somebody vouches for a neighbour of whom nothing will be known; some requests leave what is known."""
    state = before if request.flags & (NTF_USE | NTF_MANAGED) else request.state
    return bool(request.flags & NTF_EXT_VALIDATED) and not state & NUD_VALID


def neigh_delete(net: Net, request: NeighRequest) -> None:
    """Forget a neighbour.

    Kernel: net/core/neighbour.c, neigh_delete().

    Raises:
        KernelError: EINVAL, ENOENT, there is none.
    """
    if request.flags & NTF_PROXY:
        _pneigh_delete(net, request)
        return
    if request.dev is None:
        raise KernelError(EINVAL)
    neigh = neigh_lookup(request.tbl, request.dst, request.dev)
    if neigh is None:
        raise KernelError(ENOENT)
    neigh.held += 1
    _Change(neigh, _Update(override=True, admin=True), asked=True).make(None, NUD_FAILED)
    neigh.held -= 1
    _neigh_remove_one(neigh)


# --- addresses that this host answers for -----------------------------------------------------------------------------


def pneigh_lookup(tbl: NeighTable, net: Net, key: bytes, dev: NetDevice | None) -> PneighEntry | None:
    """The proxy entry for an address on a device, or on all.

    Kernel: net/core/neighbour.c, pneigh_lookup().
    """
    return next((pn for pn in tbl.phash_buckets if pn.key == key and pn.net is net and pn.dev in (None, dev)), None)


def _pneigh_add(net: Net, request: NeighRequest) -> None:
    if request.flags & (NTF_MANAGED | NTF_EXT_VALIDATED):
        raise KernelError(EINVAL, "Invalid NTF_* flag combination")
    pn = pneigh_lookup(request.tbl, net, request.dst, request.dev)
    if pn is None:
        pn = PneighEntry(net, request.dev, request.dst)
        if request.tbl.pconstructor is not None:
            try:
                request.tbl.pconstructor(pn)
            except KernelError:
                raise KernelError(ENOBUFS) from None
        request.tbl.phash_buckets.insert(0, pn)
    pn.flags, pn.permanent = request.flags, bool(request.state & NUD_PERMANENT)
    pn.protocol = request.protocol or pn.protocol


def _pneigh_delete(net: Net, request: NeighRequest) -> None:
    """Kernel: net/core/neighbour.c, pneigh_delete()."""
    for pn in request.tbl.phash_buckets:
        if pn.key == request.dst and pn.dev is request.dev and pn.net is net:
            _pneigh_remove(request.tbl, pn)
            return
    raise KernelError(ENOENT)


def _pneigh_remove(tbl: NeighTable, pn: PneighEntry) -> None:
    tbl.phash_buckets.remove(pn)
    if tbl.pdestructor is not None:
        tbl.pdestructor(pn)


def _pneigh_ifdown(tbl: NeighTable, dev: NetDevice, *, skip_perm: bool = False) -> None:
    """Kernel: net/core/neighbour.c, pneigh_ifdown(): first all are taken out, then the last of them is let go first."""
    for pn in reversed([pn for pn in _buckets(tbl) if pn.dev is dev and not (skip_perm and pn.permanent)]):
        _pneigh_remove(tbl, pn)
