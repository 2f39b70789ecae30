"""Which classes a network's scores stand for: what the metadata of its file tell."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from eapc.errors import ModelError
from eapc.model import Model

CLASSES_KEY = "eapc.classes"
"""Metadata of a network with fewer classes: `3,17,42`, as the uncut network numbers them."""

NAMES_KEY = "eapc.class_names"
"""Their names where these are known, as a list in JSON."""

_KEYS_OF_OTHERS = ("names", "class_names", "labels", "classes", "id2label")


@dataclass(frozen=True)
class ClassMap:
    """The classes that a cut network's scores stand for, in their order.

    `classes` are numbers of the uncut network; `names` are as many or none.
    """

    classes: tuple[int, ...]
    names: tuple[str, ...] = ()

    def positions(self, classes: Sequence[int]) -> tuple[int, ...]:
        """Where some of the classes stand among the scores; ValueError for one that does not."""
        return tuple(self.classes.index(each) for each in classes)

    def write(self, proto: onnx.ModelProto) -> None:
        """Put the map into a model's metadata, in place of one that is there."""
        kept = [e for e in proto.metadata_props if e.key not in (CLASSES_KEY, NAMES_KEY)]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)
        proto.metadata_props.add(key=CLASSES_KEY, value=",".join(map(str, self.classes)))
        if self.names:
            proto.metadata_props.add(key=NAMES_KEY, value=json.dumps(self.names))


def class_map(model: Model) -> ClassMap | None:
    """What a file says of its classes; None for a network that was not cut.

    Raises ModelError where it is no list of different numbers.
    """
    told = _metadata(model)
    if CLASSES_KEY not in told:
        return None
    parts = [part.strip() for part in told[CLASSES_KEY].split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        said = f"metadata {CLASSES_KEY}: expected class numbers such as 3,17,42"
        raise ModelError(f"{model.name}: {said}, got '{told[CLASSES_KEY]}'")
    names = _listed(told.get(NAMES_KEY, ""))
    classes = tuple(map(int, parts))
    return ClassMap(classes, names if len(names) == len(classes) else ())


def names_told(model: Model) -> tuple[str, ...]:
    """Names of the scores by the file's metadata, in their order; none where it tells none.

    Besides eapc's own key it reads those that exporters use: `names`, `labels` and the like, as a
    list or as names by number, in JSON or as Python writes them.
    """
    told = _metadata(model)
    if CLASSES_KEY in told:
        known = class_map(model)
        return known.names if known else ()
    return next(filter(None, (_listed(told.get(key, "")) for key in _KEYS_OF_OTHERS)), ())


def _metadata(model: Model) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.view.proto.metadata_props}


def _listed(text: str) -> tuple[str, ...]:
    """A list of names, or names by the numbers 0, 1, 2 ...; nothing of any other text."""
    value = _read(text)
    if isinstance(value, Mapping):
        by_number = {str(key): name for key, name in value.items()}
        value = [by_number.get(str(number)) for number in range(len(by_number))]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return ()
    return tuple(value)


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
