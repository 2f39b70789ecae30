"""Global fine-tuning by back-propagation, without touching what pruning has decided."""

from eapc.tuning.entry import require_torch, require_trainable, tune
from eapc.tuning.options import Options
from eapc.tuning.results import Epoch, Tuned
from eapc.tuning.targets import Teacher

__all__ = ["Epoch", "Options", "Teacher", "Tuned", "require_torch", "require_trainable", "tune"]
