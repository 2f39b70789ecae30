"""The compiler's passes, one file each; imported as `eapc.passes`.

To add one: write the file, then its class into `PASSES`.
"""

from __future__ import annotations

if __name__ != "eapc.passes":
    raise ImportError(f"these passes belong to eapc: import eapc.passes, not {__name__}")

from types import MappingProxyType
from typing import TYPE_CHECKING

from .annotate_energy import AnnotateEnergy
from .choose_widths import ChooseWidths
from .fine_tune import FineTune
from .hold_out_inputs import HoldOutInputs
from .keep_classes import KeepClasses
from .prune_channels import PruneChannels
from .prune_weights import PruneWeights
from .quantize import Quantize
from .reconstruct_outputs import ReconstructOutputs
from .repair_outputs import RepairOutputs
from .set_widths import SetWidths
from .shrink_channels import ShrinkChannels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eapc.pipeline import Pass

PASSES: Mapping[str, type[Pass]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            AnnotateEnergy,
            ChooseWidths,
            FineTune,
            HoldOutInputs,
            KeepClasses,
            PruneChannels,
            PruneWeights,
            Quantize,
            ReconstructOutputs,
            RepairOutputs,
            SetWidths,
            ShrinkChannels,
        )
    }
)
