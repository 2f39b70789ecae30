"""Global repair: channels moved and scaled until the network's outputs come back, without torch."""

from eapc.repair.entry import repair
from eapc.repair.results import Repaired

__all__ = ["Repaired", "repair"]
