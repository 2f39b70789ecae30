"""How well a pruned network serves: accuracy, agreement, relative output error."""

from eapc.evaluation.joins import joined_labels
from eapc.evaluation.judges import AccuracyJudge, AgreementJudge
from eapc.evaluation.kept_answers import require_kept_answers
from eapc.evaluation.measures import (
    RELATIVE_ERROR,
    TOP1,
    TOP1_AGREEMENT,
    Accuracy,
    Agreement,
    class_scores,
)
from eapc.evaluation.metrics import TOP1_ACCURACY, Metric, MetricFunction, OwnMetric
from eapc.evaluation.own_metrics import load_metric
from eapc.evaluation.parts import Outputs, SplitOutput
from eapc.evaluation.yardstick import Yardstick

__all__ = [
    "RELATIVE_ERROR",
    "TOP1",
    "TOP1_ACCURACY",
    "TOP1_AGREEMENT",
    "Accuracy",
    "AccuracyJudge",
    "Agreement",
    "AgreementJudge",
    "Metric",
    "MetricFunction",
    "Outputs",
    "OwnMetric",
    "SplitOutput",
    "Yardstick",
    "class_scores",
    "joined_labels",
    "load_metric",
    "require_kept_answers",
]
