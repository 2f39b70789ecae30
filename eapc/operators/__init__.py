"""What eapc knows of operators: one row each, by domain and name."""

from eapc.operators.operator import (
    Kind,
    Operator,
    QuantizedOperands,
    Substitute,
    WeightLayout,
    element_wise,
)
from eapc.operators.table import operator, operator_of, operators, register

__all__ = [
    "Kind",
    "Operator",
    "QuantizedOperands",
    "Substitute",
    "WeightLayout",
    "element_wise",
    "operator",
    "operator_of",
    "operators",
    "register",
]
