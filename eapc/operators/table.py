"""The table of operators: looked up by domain and name, open to rows from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from eapc.operators import onnx_rows, onnxruntime_rows
from eapc.operators.operator import Operator

_DEFAULT_DOMAINS = ("", "ai.onnx")


class NamesOperator(Protocol):
    """A node, ONNX's own or eapc's."""

    @property
    def op_type(self) -> str:
        """The operator's name."""

    @property
    def domain(self) -> str:
        """The operator's domain."""


_TABLE: dict[tuple[str, str], Operator] = {}


def register(*rows: Operator, replace: bool = False) -> Callable[[], None]:
    """Enter rows in the table; calling what is returned takes them out again.

    Raises ValueError for an operator that has a row already, unless it is to be replaced.
    """
    keys = [(row.domain, row.name) for row in rows]
    for row, key in zip(rows, keys, strict=True):
        if not replace and (key in _TABLE or keys.count(key) > 1):
            raise ValueError(f"operator {row.full_name} has a row already")
    before = {key: _TABLE[key] for key in keys if key in _TABLE}
    _TABLE.update(zip(keys, rows, strict=True))

    def undo() -> None:
        for key in keys:
            _TABLE.pop(key, None)
        _TABLE.update(before)

    return undo


def operator(name: str, domain: str = "") -> Operator:
    """The row of an operator; one without traits where it is unknown."""
    domain = "" if domain in _DEFAULT_DOMAINS else domain
    return _TABLE.get((domain, name)) or Operator(name, domain)


def operator_of(node: NamesOperator) -> Operator:
    """The row of a node's operator; one without traits where it is unknown."""
    return operator(node.op_type, node.domain)


def operators() -> Iterable[Operator]:
    """Every row of the table."""
    return tuple(_TABLE.values())


register(*onnx_rows.ROWS, *onnxruntime_rows.ROWS)
