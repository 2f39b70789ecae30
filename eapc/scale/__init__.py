"""The scale of a network's inputs: what it tells of it, and whether data is at another one."""

from eapc.scale.declared import declared_ranges
from eapc.scale.evidence import ScaleEvidence, scale_evidence
from eapc.scale.misfit import ScaleMisfit, scale_misfit

__all__ = ["ScaleEvidence", "ScaleMisfit", "declared_ranges", "scale_evidence", "scale_misfit"]
