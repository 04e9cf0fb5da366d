"""ethtool(8)'s words: how features are grouped, what they are called, and how that is spelled on the command line.

What is printed is what ethtool 6.1 prints, line by line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

__all__ = ["GROUPS", "Group", "change_lines", "feature_lines", "features_named", "link_lines", "ts_info_lines"]


@dataclass(frozen=True, slots=True)
class Group:
    """A line of ``ethtool -k`` that stands for one feature or several.

    Attributes:
        short: the word for it behind -K.
        long: what it is called in the list.
        pattern: matches the features that it stands for.
    """

    short: str
    long: str
    pattern: str


# In the order in which they are printed.
GROUPS: Final = (
    Group("rx", "rx-checksumming", "rx-checksum"),
    Group("tx", "tx-checksumming", "tx-checksum-*"),
    Group("sg", "scatter-gather", "tx-scatter-gather*"),
    Group("tso", "tcp-segmentation-offload", "tx-tcp*-segmentation"),
    Group("ufo", "udp-fragmentation-offload", "tx-udp-fragmentation"),
    Group("gso", "generic-segmentation-offload", "tx-generic-segmentation"),
    Group("gro", "generic-receive-offload", "rx-gro"),
    Group("lro", "large-receive-offload", "rx-lro"),
    Group("rxvlan", "rx-vlan-offload", "rx-vlan-hw-parse"),
    Group("txvlan", "tx-vlan-offload", "tx-vlan-hw-insert"),
    Group("ntuple", "ntuple-filters", "rx-ntuple-filter"),
    Group("rxhash", "receive-hashing", "rx-hashing"),
)


def features_named(word: str, names: Mapping[int, str]) -> list[int]:
    """The bits that a word stands for: a group's, short or long, or one feature's own name; none if it is unknown."""
    for group in GROUPS:
        if word in (group.short, group.long):
            return _members(group, names)
    return [bit for bit, name in names.items() if name == word]


def _members(group: Group, names: Mapping[int, str]) -> list[int]:
    return [bit for bit, name in names.items() if fnmatchcase(name, group.pattern)]


def _on(*, on: bool) -> str:
    return "on" if on else "off"


def _line(name: str, bit: int, active: int, requested: int, fixed: int) -> str:
    is_on = bool(active >> bit & 1)
    if fixed >> bit & 1:
        return f"{name}: {_on(on=is_on)} [fixed]"
    wanted = bool(requested >> bit & 1)
    return f"{name}: {_on(on=is_on)}" + (f" [requested {_on(on=wanted)}]" if wanted != is_on else "")


def feature_lines(dev: str, names: Mapping[int, str], active: int, requested: int, fixed: int) -> Iterator[str]:
    """``ethtool -k DEV``: groups first, then the features that are in none."""
    yield f"Features for {dev}:"
    told: set[int] = set()
    for group in GROUPS:
        members = _members(group, names)
        told.update(members)
        if len(members) == 1:
            yield _line(group.long, members[0], active, requested, fixed)
        elif members:
            yield f"{group.long}: {_on(on=any(active >> bit & 1 for bit in members))}"
            yield from (f"\t{_line(names[bit], bit, active, requested, fixed)}" for bit in members)
    yield from (_line(name, bit, active, requested, fixed) for bit, name in names.items() if bit not in told)


def change_lines(
    names: Mapping[int, str], mask: int, unmet: int, wanted: int, changed: int, active: int
) -> Iterator[str]:
    """``ethtool -K``: nothing if all is as it was asked for and nothing else has changed, else every change."""
    if not unmet and not changed & ~mask:
        return
    yield "Actual changes:"
    for bit, name in names.items():
        is_unmet, is_changed = bool(unmet >> bit & 1), bool(changed >> bit & 1)
        if not is_unmet and not is_changed:
            continue
        asked = bool(wanted >> bit & 1)
        now = bool(active >> bit & 1) if is_changed else not asked
        remark = f" [requested {_on(on=asked)}]" if is_unmet else "" if mask >> bit & 1 else " [not requested]"
        yield f"{name}: {_on(on=now)}{remark}"


def link_lines(dev: str, detected: bool | None) -> Iterator[str]:  # noqa: FBT001 - a value, not a switch
    """``ethtool DEV``, for a device that has nothing but a link to tell of; None where it does not even know that."""
    if detected is None:
        yield "No data available"
        return
    yield f"Settings for {dev}:"
    yield f"\tLink detected: {'yes' if detected else 'no'}"


_TS_CAPABILITIES: Final = (
    (0, "hardware-transmit"),
    (1, "software-transmit"),
    (2, "hardware-receive"),
    (3, "software-receive"),
    (4, "software-system-clock"),
    (5, "hardware-legacy-clock"),
    (6, "hardware-raw-clock"),
)


def ts_info_lines(dev: str, so_timestamping: int) -> Iterator[str]:
    """``ethtool -T DEV``, for a device without a clock of its own."""
    yield f"Time stamping parameters for {dev}:"
    yield "Capabilities:"
    yield from (f"\t{name}" for bit, name in _TS_CAPABILITIES if so_timestamping >> bit & 1)
    yield "PTP Hardware Clock: none"
    yield "Hardware Transmit Timestamp Modes: none"
    yield "Hardware Receive Filter Modes: none"
