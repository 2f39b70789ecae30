"""A model's graph as differentiable torch functions: the only package that imports torch."""

from eapc.autograd.network import Network, require_rules, unruled
from eapc.autograd.parameters import CodeGrid, Parameter, parameters_of
from eapc.autograd.rules import Call, Rule, rule, rule_of, ruled

__all__ = [
    "Call",
    "CodeGrid",
    "Network",
    "Parameter",
    "Rule",
    "parameters_of",
    "require_rules",
    "rule",
    "rule_of",
    "ruled",
    "unruled",
]
