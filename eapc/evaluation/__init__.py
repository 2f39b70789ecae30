"""How well a pruned network serves: accuracy, agreement, relative output error."""

from eapc.evaluation.judges import AccuracyJudge, AgreementJudge
from eapc.evaluation.measures import (
    RELATIVE_ERROR,
    TOP1_AGREEMENT,
    Accuracy,
    Agreement,
)
from eapc.evaluation.parts import Outputs
from eapc.evaluation.yardstick import Yardstick

__all__ = [
    "RELATIVE_ERROR",
    "TOP1_AGREEMENT",
    "Accuracy",
    "AccuracyJudge",
    "Agreement",
    "AgreementJudge",
    "Outputs",
    "Yardstick",
]
