"""Bits as decisions: widths of weights and activations beside channels and zeros."""

from eapc.widths.costs import WidthCosts, WidthSite
from eapc.widths.plan import JointChoice, WidthPlan

__all__ = ["JointChoice", "WidthCosts", "WidthPlan", "WidthSite"]
