"""Inputs made up for a model that comes without data."""

from eapc.synthesis.inputs import synthesise

__all__ = ["synthesise"]
