"""The compiler's passes: what one is, and how a pipeline of them is typed.

A pipeline is written `annotate-energy, prune-weights{sparsity=0.8}, reconstruct-outputs`:
pass names in order, each with the options that its dataclass fields declare.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, cast

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from eapc.errors import ArgumentError, EapcError, PassError, UsageError
from eapc.model import Model
from eapc.pipeline.compilation import Compilation
from eapc.solvers import single_thread


@dataclass(frozen=True)
class Pass(ABC):
    """One step of the compiler; its dataclass fields are its options.

    `refits` says that it fits weights to calibration inputs, and chooses nothing that energies
    or latencies depend on.
    """

    name: ClassVar[str]
    refits: ClassVar[bool] = False

    @property
    def needs_calibration(self) -> bool:
        """True when the pass cannot run without calibration inputs."""
        return False

    def check(self, model: Model) -> None:  # noqa: B027 (most passes suit every model)
        """Raise what is wrong with the options for a model, before time is spent on it."""

    @abstractmethod
    def run(self, compilation: Compilation) -> Compilation:
        """The compilation after this pass; what it was given stays as it is."""

    @classmethod
    def summary(cls) -> str:
        """The first line of the pass's docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def __str__(self) -> str:
        """The pass as it would be typed: its name and the options that are not default."""
        options = [
            f"{option.name}={_typed(getattr(self, option.name))}"
            for option in dataclasses.fields(self)
            if getattr(self, option.name) != option.default
        ]
        return self.name + (f"{{{', '.join(options)}}}" if options else "")


def _split_names(value: object) -> object:
    return tuple(filter(None, value.split(SEPARATOR))) if isinstance(value, str) else value


SEPARATOR = "|"
"""Between the names of a list in a pipeline's text, where commas separate options."""

Names = Annotated[tuple[str, ...], BeforeValidator(_split_names)]
"""An option that lists names: `conv1|block3/*`."""


Numbers = Annotated[tuple[int, ...], BeforeValidator(_split_names)]
"""An option that lists whole numbers: `2|4|8`."""


def _typed(value: object) -> str:
    return SEPARATOR.join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Pipeline:
    """Passes in order."""

    passes: tuple[Pass, ...]

    @classmethod
    def parse(cls, text: str, table: Mapping[str, type[Pass]]) -> Pipeline:
        """Read `name{option=value, ...}, name`; raises UsageError naming what is wrong."""
        return cls(tuple(_make_pass(name, body, table) for name, body in _split(text)))

    @classmethod
    def of(cls, steps: Steps, table: Mapping[str, type[Pass]]) -> Pipeline:
        """The pipeline of what is typed, of a pass or several, or as it is.

        Raises UsageError for text that names no passes, ArgumentError for what is none.
        """
        if isinstance(steps, Pipeline):
            return steps
        is_one = isinstance(steps, str | Pass | type) or not isinstance(steps, Iterable)
        listed: list[Any] = [steps] if is_one else list(cast("Iterable[Any]", steps))
        if not listed:
            raise UsageError("pipeline: empty; name at least one pass")
        parts = (
            cls.parse(each, table).passes if isinstance(each, str) else (each,) for each in listed
        )
        return cls(tuple(_checked(each) for part in parts for each in part))

    def check(self, model: Model) -> None:
        """Check every pass's options; raises PassError with the name of the one that is wrong."""
        for step in self.passes:
            try:
                step.check(model)
            except EapcError as error:
                raise PassError(step.name, error) from error

    @single_thread()
    def run(self, compilation: Compilation) -> Compilation:
        """Run every pass; raises PassError with the name of the one that failed."""
        for step in self.passes:
            start = time.perf_counter()
            try:
                compilation = _done(step.run(compilation))
            except EapcError as error:
                raise PassError(step.name, error) from error
            spent = dict(compilation.record.seconds)
            spent[step.name] = spent.get(step.name, 0.0) + time.perf_counter() - start
            compilation = compilation.with_record(seconds=spent)
        return compilation

    def __str__(self) -> str:
        """The pipeline as it would be typed."""
        return ", ".join(str(step) for step in self.passes)


def _checked(step: object) -> Pass:
    """The pass; ArgumentError for anything else, and for one without a name."""
    if not isinstance(step, Pass):
        is_class = isinstance(step, type) and issubclass(step, Pass)
        found = f"the class {getattr(step, '__name__', '')}" if is_class else type(step).__name__
        expected = "expected text, passes such as MyPass(), or an eapc.Pipeline"
        raise ArgumentError(f"pipeline: {expected}, got {found}")
    if not isinstance(getattr(step, "name", None), str):
        said = "has no name: it needs a line such as name: ClassVar[str] = 'my-pass'"
        raise ArgumentError(f"pipeline: {type(step).__name__} {said}")
    return step


def _done(given: object) -> Compilation:
    """What a pass has given back; ArgumentError where it is no compilation."""
    if not isinstance(given, Compilation):
        raise ArgumentError(f"its run gave {type(given).__name__}, not a Compilation")
    return given


Steps = str | Pass | Pipeline | Sequence[str | Pass]
"""A pipeline as people have it: typed, or objects; text may stand among them."""

_PASS = re.compile(r"\s*([A-Za-z][\w.-]*)\s*(?:\{([^{}]*)\})?\s*(?:,|$)")


def _split(text: str) -> list[tuple[str, str]]:
    text = " ".join(text.split())
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PASS.match(text, position)
        if match is None:
            raise UsageError(f"pipeline: cannot read '{text[position:]}'")
        parts.append((match[1], match[2] or ""))
        position = match.end()
    if not parts:
        raise UsageError("pipeline: empty; name at least one pass")
    return parts


def _make_pass(name: str, body: str, table: Mapping[str, type[Pass]]) -> Pass:
    if name not in table:
        raise UsageError(f"pipeline: no pass '{name}'; there are {', '.join(sorted(table))}")
    kind = table[name]
    known = {option.name for option in dataclasses.fields(kind)}
    options: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in body.split(","))):
        key, equals, value = (part.strip() for part in entry.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in known or key in options:
            choice = ", ".join(sorted(known)) or "none"
            raise UsageError(f"pipeline: {name}: bad option '{entry}'; options: {choice}")
        options[key] = value
    try:
        made: Pass = TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"pipeline: {name}: {where}: {first['msg']}") from error
    return made


# --- finding passes ------------------------------------------------------------------------------


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
