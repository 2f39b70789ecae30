"""What can be added by name: dataflows, solver methods, criteria for channels, views of results.

Each table lists what eapc comes with as `module:attribute`, loaded when it is asked for: so the
command line can name the choices at no cost, whatever they need. `add` enters one of your own,
which --help, error messages and searches then know like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar, cast

from eapc.errors import UsageError

Kind = TypeVar("Kind")


def any_of(choices: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = choices
    return f"{', '.join(others)} or {last}"


class Table(Mapping[str, Kind], Generic[Kind]):
    """Things of one sort by the name that is typed, in the order in which they are listed."""

    def __init__(self, sort: str, shipped: Mapping[str, str]) -> None:
        self._sort = sort
        self._kinds: dict[str, Any] = dict(shipped)

    def __getitem__(self, name: str) -> Kind:
        kind = self._kinds[name]
        if isinstance(kind, str):
            kind = self._kinds[name] = resolve_name(kind)
        return cast("Kind", kind)

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def require(self, name: str) -> None:
        """Raise UsageError if there is nothing of this name."""
        if name not in self:
            raise UsageError(f"unknown {self._sort} '{name}'; choose from {', '.join(self)}")

    def add(self, name: str, kind: Kind) -> Callable[[], None]:
        """Enter one; calling what is returned takes it out again. ValueError if it is there."""
        if name in self:
            raise ValueError(f"{self._sort} {name} exists already; choose another name")
        self._kinds[name] = kind

        def undo() -> None:
            del self._kinds[name]

        return undo


DATAFLOWS: Table[Any] = Table(
    "dataflow",
    {
        "row_stationary": "eapc.dataflow.row_stationary:ROW_STATIONARY",
        "systolic": "eapc.dataflow.systolic:SYSTOLIC",
        "cache_hierarchy": "eapc.dataflow.cache_hierarchy:CACHE_HIERARCHY",
        "integer_kernels": "eapc.dataflow.integer_kernels:INTEGER_KERNELS",
        "output_blocks": "eapc.dataflow.output_blocks:OUTPUT_BLOCKS",
    },
)
"""How layers run on a machine (`eapc.dataflow.Dataflow`), by `machine.dataflow` of its file."""

METHODS: Table[Any] = Table(
    "method",
    {
        "admm": "eapc.solvers.methods:ADMM",
        "eap": "eapc.solvers.eap:EAP",
        "sparsegpt": "eapc.solvers.sparsegpt:SPARSEGPT",
        "wanda": "eapc.solvers.methods:WANDA",
        "magnitude": "eapc.solvers.methods:MAGNITUDE",
    },
)
"""Ways to prune one layer (`eapc.solvers.Method`), by --method."""

CRITERIA: Table[Any] = Table(
    "criterion",
    {
        "obs": "eapc.structured.criteria:obs",
        "hessian": "eapc.structured.criteria:hessian",
        "nuclear": "eapc.structured.criteria:nuclear",
        "activation": "eapc.structured.criteria:activation",
        "l1": "eapc.structured.criteria:l1",
        "l2": "eapc.structured.criteria:l2",
        "geometric-median": "eapc.structured.criteria:geometric_median",
        "lamp": "eapc.structured.criteria:lamp",
        "random": "eapc.structured.criteria:random",
    },
)
"""Which channels go first (`eapc.structured.Criterion`), by --criterion."""

VIEWS: Table[Any] = Table(
    "view",
    {
        "Analysis": "eapc.report.views:ANALYSIS",
        "Comparison": "eapc.report.views:COMPARISON",
        "DataDescription": "eapc.report.views:DATA_DESCRIPTION",
        "DynamicNetwork": "eapc.report.views:DYNAMIC_NETWORK",
        "FineTuned": "eapc.report.views:FINE_TUNED",
        "Profiled": "eapc.report.views:PROFILED",
        "Pruned": "eapc.report.views:PRUNED",
        "Ran": "eapc.report.views:RAN",
        "Swept": "eapc.report.views:SWEPT",
        "Timing": "eapc.report.views:TIMING",
    },
)
"""How a result shows itself (`eapc.report.views.View`), by the name of its class."""
