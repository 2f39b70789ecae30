"""--target-latency: a budget of time, read off a machine's measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eapc.goals.holders import BESIDE
from eapc.goals.result import Pruned
from eapc.goals.target import Target

NEEDS_MEASUREMENTS = (
    "latency is measured, not modelled: `eapc profile MODEL -o host.yaml`, then --hw host.yaml"
)


@dataclass(frozen=True)
class TargetLatency(Target):
    """Latency at most this fraction of the whole network's, on the machine that was measured."""

    option = "--target-latency"
    metavar = "L"
    help = "At most this fraction of the latency, in (0, 1]; with --structured."
    remedy = "a higher --target-latency keeps more"
    cost = objective = "latency"
    other_objective = NEEDS_MEASUREMENTS

    def ratio(self, result: Pruned) -> float:
        """Milliseconds after over milliseconds before; zeros alone would save none."""
        return 1.0 if result.latency is None else result.latency.ratio

    def shares(self, result: Pruned) -> Mapping[str, float]:
        """The milliseconds of each layer, and what every run takes beside them."""
        from eapc.pipeline import measured_milliseconds

        found, latency = result.compilation, result.latency
        if latency is None or found.measured is None or not latency.before_ms:
            return {}
        if latency.bits is not None:  # layers are those of the quantized network
            return {}
        whole = latency.before_ms * found.measured.batch
        milliseconds = {**measured_milliseconds(found), BESIDE: found.measured.overhead_ms}
        return {key: taken / whole for key, taken in milliseconds.items()}
