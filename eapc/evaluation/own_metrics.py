"""Reading a metric of the user's own: `FILE.py:NAME`."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from eapc.errors import DataError, UsageError
from eapc.evaluation.metrics import OwnMetric
from eapc.evaluation.tracebacks import where_raised

_MODULE = "eapc_metric"
_NAMES_SHOWN = 8


def load_metric(text: str) -> OwnMetric:
    """The metric that `FILE.py:NAME` means; modules beside the file can be imported by it.

    Raises UsageError where there is no such file or function, DataError where the file fails.
    """
    file, colon, name = text.rpartition(":")
    if not (file and colon and name.isidentifier()):
        raise UsageError(f"--metric: expected FILE.py:NAME, got '{text}'")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"--metric: no such file: {path}")
    found = vars(_run(path))
    if name not in found:
        known = [each for each, value in found.items() if callable(value) and each[0] != "_"]
        has = ", ".join(known[:_NAMES_SHOWN]) or "no functions"
        raise UsageError(f"--metric: no '{name}' in {path}; it has {has}")
    function = found[name]
    if not callable(function):
        kind = type(function).__name__
        raise UsageError(f"--metric: '{name}' in {path} is no function but of type {kind}")
    return OwnMetric(name, function, str(path))


class _Unkept(SourceFileLoader):
    """Reads a module and leaves no compiled file beside it."""

    def set_data(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""


def _run(path: Path) -> ModuleType:
    """The module of a file, under a name of its own."""
    loader = _Unkept(_MODULE, str(path))
    spec = spec_from_loader(_MODULE, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module  # where dataclasses look their module up
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise DataError(f"--metric: {where_raised(error, str(path))}") from error
    return module
