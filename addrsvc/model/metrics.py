"""net/ipv4/metrics.c: the metrics of a route, as a request gives them and as a route keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from errno import EINVAL
from sys import byteorder
from typing import Final

from addrsvc.errors import KernelError
from addrsvc.uapi import (
    RTA_METRICS,
    RTAX_ADVMSS,
    RTAX_CC_ALGO,
    RTAX_FEATURES,
    RTAX_HOPLIMIT,
    RTAX_MAX,
    RTAX_MTU,
)

__all__ = ["Metric", "Metrics", "fib_metrics_match", "ip_metrics_convert"]

Metrics = Mapping[int, int | str]
"""RTAX_* that are not zero, each a number but for the name of the congestion algorithm."""

_LIMITS: Final[Mapping[int, int]] = {RTAX_ADVMSS: 65535 - 40, RTAX_MTU: 65535 - 15, RTAX_HOPLIMIT: 255}
_RTAX_FEATURE_MASK: Final = 0x1F
_TCP_CA_NAME_MAX: Final = 16
_ALGORITHMS: Final = ("reno", "cubic", "bbr")
"""What is built into the running kernel; none of them asks for ECN."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One attribute inside of RTA_METRICS: RTAX_* and its payload."""

    type: int
    payload: bytes

    @property
    def is_number(self) -> bool:
        """Whether it is what all but RTAX_CC_ALGO have to be."""
        return len(self.payload) == 4

    @property
    def value(self) -> int | str:
        """The metric."""
        if self.type == RTAX_CC_ALGO:
            return self.payload.split(b"\0")[0][: _TCP_CA_NAME_MAX - 1].decode("utf-8", "surrogateescape")
        return int.from_bytes(self.payload, byteorder)


def ip_metrics_convert(mx: Sequence[Metric]) -> Metrics:
    """The metrics of a route that is as a request says.

    Kernel: net/ipv4/metrics.c, ip_metrics_convert().

    Raises:
        KernelError: EINVAL, no such metric, or no such value of it.
    """
    metrics: dict[int, int | str] = {}
    for metric in mx:
        if metric.type > RTAX_MAX:
            raise KernelError(EINVAL, "Invalid metric type")
        if metric.type:
            metrics[metric.type] = _converted(metric)
    return {kind: value for kind, value in sorted(metrics.items()) if value}


def _converted(metric: Metric) -> int | str:
    value = metric.value
    if metric.type == RTAX_CC_ALGO:
        if value not in _ALGORITHMS:
            raise KernelError(EINVAL, "Unknown tcp congestion algorithm")
        return value
    if not metric.is_number:
        raise KernelError(EINVAL, "Invalid attribute in metrics", attr=(RTA_METRICS, metric.type))
    assert isinstance(value, int)
    if metric.type == RTAX_FEATURES and value & ~_RTAX_FEATURE_MASK:
        raise KernelError(EINVAL, "Unknown flag set in feature mask in metrics attribute")
    return min(value, _LIMITS.get(metric.type, value))


def fib_metrics_match(mx: Sequence[Metric] | None, metrics: Metrics) -> bool:
    """Whether a route has the metrics that a request to delete one names, if it names any.

    Kernel: net/ipv4/fib_semantics.c, fib_metrics_match().
    """
    return all(_matches(metric, metrics) for metric in mx or () if metric.type)


def _matches(metric: Metric, metrics: Metrics) -> bool:
    if metric.type == RTAX_CC_ALGO:
        name = metric.value if metric.value in _ALGORITHMS else None
        return metrics.get(RTAX_CC_ALGO) == name
    return metric.type <= RTAX_MAX and metric.is_number and metrics.get(metric.type, 0) == metric.value
