"""The scale of a network's inputs: what it tells of it, and whether data is at another one."""

from eapc.scale.evidence import ScaleEvidence, scale_evidence

__all__ = ["ScaleEvidence", "scale_evidence"]
