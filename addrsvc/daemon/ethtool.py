"""What ethtool(8) shows of a device and changes about it, as commands of the service."""

from typing import TYPE_CHECKING, TypedDict

from addrsvc.errors import ControlError, KernelError

if TYPE_CHECKING:
    from addrsvc.daemon.service import Service
    from addrsvc.model.structs import NetDevice

__all__ = ["FeatureState", "Features", "FeaturesChanged", "LinkState", "features", "features_set", "link_state"]


class FeatureState(TypedDict):
    """One feature of a device: whether it is in force, whether it was asked for, whether nobody can change it."""

    name: str
    active: bool
    requested: bool
    fixed: bool


class Features(TypedDict):
    """What a device can do for packets; `lines` is what ``ethtool -k`` prints."""

    features: list[FeatureState]
    lines: list[str]


class FeaturesChanged(TypedDict):
    """What a change came to: features that are not as they were asked for, and what ``ethtool -K`` prints."""

    unmet: list[str]
    lines: list[str]


class LinkState(TypedDict):
    """Whether there is a link (None: the device does not know), and which time stamps there are."""

    link_detected: bool | None
    so_timestamping: int
    lines: list[str]
    timestamping_lines: list[str]


def features(service: "Service", *, dev: str = "lo", net: str | None = None) -> Features:
    """Show what a device can do for packets, as ``ethtool -k`` does."""
    from addrsvc.model.ethtool import ethtool_get_features
    from addrsvc.model.features import netdev_features_strings
    from addrsvc.netlink.ethtool_text import feature_lines

    device = _device(service, net, dev)
    masks = ethtool_get_features(device)
    fixed = ~masks.available | masks.never_changed
    return {
        "features": [
            {
                "name": name,
                "active": bool(masks.active >> bit & 1),
                "requested": bool(masks.requested >> bit & 1),
                "fixed": masks.is_fixed(bit),
            }
            for bit, name in netdev_features_strings.items()
        ],
        "lines": list(feature_lines(device.name, netdev_features_strings, masks.active, masks.requested, fixed)),
    }


def features_set(
    service: "Service", *, features: dict[str, str], dev: str = "lo", net: str | None = None
) -> FeaturesChanged:
    """Switch features of a device ``on`` or ``off``, as ``ethtool -K`` does: by a group's name or a feature's own."""
    from addrsvc.model.features import feature_names, netdev_features_strings
    from addrsvc.netlink.ethtool_text import change_lines

    mask, wanted = _wish(features)
    told = service.net(net).features_set(dev, mask, wanted)
    lines = change_lines(netdev_features_strings, mask, told.unmet, told.wanted, told.changed, told.active)
    return {"unmet": feature_names(told.unmet), "lines": list(lines)}


def _wish(features: dict[str, str]) -> tuple[int, int]:
    """The features that are meant, and those of them that are to be on."""
    mask = wanted = 0
    for word, state in features.items():
        if state not in ("on", "off"):
            raise ControlError(f"{word}: {state!r} is neither on nor off")
        bits = _bits(word)
        mask |= bits
        wanted = wanted | bits if state == "on" else wanted & ~bits
    if not mask:
        raise ControlError("Could not change any device features")
    return mask, wanted


def _bits(word: str) -> int:
    from addrsvc.daemon.commands import did_you_mean
    from addrsvc.model.features import netdev_features_strings
    from addrsvc.netlink.ethtool_text import GROUPS, features_named

    known = [name for group in GROUPS for name in (group.short, group.long)] + list(netdev_features_strings.values())
    if word not in known:
        raise ControlError(f"{word}: bit name not found{did_you_mean(word, known)}")
    return sum(1 << bit for bit in features_named(word, netdev_features_strings))


def link_state(service: "Service", *, dev: str = "lo", net: str | None = None) -> LinkState:
    """Show whether a device has a link, and its time stamps, as ``ethtool`` and ``ethtool -T`` do."""
    from addrsvc.model.ethtool import ethtool_get_link, ethtool_get_ts_info
    from addrsvc.netlink.ethtool_text import link_lines, ts_info_lines

    device = _device(service, net, dev)
    stamps = ethtool_get_ts_info(device)
    try:
        link = bool(ethtool_get_link(device))
    except KernelError:
        link = None
    return {
        "link_detected": link,
        "so_timestamping": stamps,
        "lines": list(link_lines(device.name, link)),
        "timestamping_lines": list(ts_info_lines(device.name, stamps)),
    }


def _device(service: "Service", net: str | None, dev: str) -> "NetDevice":
    from addrsvc.daemon.commands import did_you_mean

    namespace = service.net(net)
    if dev not in (known := namespace.links()):
        raise ControlError(f'Cannot find device "{dev}"{did_you_mean(dev, known)}')
    return namespace.device(dev)
