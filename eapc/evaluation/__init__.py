"""How well a pruned network serves: accuracy, agreement, relative output error."""

from eapc.evaluation.judges import AccuracyJudge, AgreementJudge
from eapc.evaluation.measures import (
    RELATIVE_ERROR,
    TOP1_AGREEMENT,
    Accuracy,
    Agreement,
    Outputs,
    output_divergence,
)

__all__ = [
    "RELATIVE_ERROR",
    "TOP1_AGREEMENT",
    "Accuracy",
    "AccuracyJudge",
    "Agreement",
    "AgreementJudge",
    "Outputs",
    "output_divergence",
]
