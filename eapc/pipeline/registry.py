"""The one place that finds passes: the shipped ones and those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from eapc.errors import UsageError
from eapc.pipeline.passes import Pass

ENTRY_POINT_GROUP = "eapc.passes"


def load_passes() -> Mapping[str, type[Pass]]:
    """Every pass by name; an installed package adds its own under `eapc.passes`.

    Raises UsageError when two passes have the same name, or one cannot be loaded.
    """
    shipped: Mapping[str, type[Pass]] = importlib.import_module("eapc.passes").PASSES
    passes = dict(shipped)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        found = _load(entry)
        if found.name in passes:
            raise UsageError(f"pass '{found.name}' of {entry.value} exists already")
        passes[found.name] = found
    return MappingProxyType(passes)


def _load(entry: EntryPoint) -> type[Pass]:
    try:
        found: object = entry.load()
    except Exception as error:  # whatever the import of someone else's code raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"pass '{entry.value}' cannot be loaded: {reason}") from error
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise UsageError(f"pass '{entry.value}' is not a subclass of eapc.Pass")
    return found
