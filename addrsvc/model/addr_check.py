"""When lifetimes are looked at next: what addrconf_verify_rtnl() and check_lifetime() have in common."""

from typing import Final

from addrsvc.model.timer import HZ, round_jiffies_up, skip_idle

__all__ = ["ADDRCONF_TIMER_FUZZ_MINUS", "next_check"]

ADDR_CHECK_FREQUENCY: Final = 120 * HZ
ADDRCONF_TIMER_FUZZ_MINUS: Final = HZ // 50
ADDRCONF_TIMER_FUZZ: Final = HZ // 4
ADDRCONF_TIMER_FUZZ_MAX: Final = HZ


def next_check(limit: int, now: int) -> int:
    """The jiffies at which to look again, where the next that happens to an address does so at `limit`.

    Kernel: net/ipv6/addrconf.c, addrconf_verify_rtnl(); net/ipv4/devinet.c, check_lifetime().
    Differs: of the looks every two minutes those that would find nothing are left out.
    """
    upcoming = min(limit, skip_idle(round_jiffies_up(now + ADDR_CHECK_FREQUENCY), ADDR_CHECK_FREQUENCY, limit))
    rounded = round_jiffies_up(upcoming)
    at = rounded if rounded < upcoming + ADDRCONF_TIMER_FUZZ else upcoming
    return max(at, now + ADDRCONF_TIMER_FUZZ_MAX)
