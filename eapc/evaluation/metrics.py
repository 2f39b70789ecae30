"""What tells how well outputs serve: top-1 accuracy, or a function of the user's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from eapc.data import Dataset
from eapc.errors import DataError
from eapc.evaluation.estimates import Estimate, groups_of, jackknifed, paired_mean
from eapc.evaluation.margins import DecisionMargins
from eapc.evaluation.measures import TOP1, Accuracy, binary_threshold, class_scores, correct
from eapc.evaluation.parts import Outputs
from eapc.evaluation.tracebacks import where_raised
from eapc.model import Array

MetricFunction = Callable[[Outputs, Mapping[str, Array]], Any]
"""Outputs and arrays of the data by name, (n, ...) each, to (n,) numbers or to one for all."""


@dataclass(frozen=True)
class MetricValue:
    """What a metric gives for samples: the mean of `each` (n,), or one number for all.

    In the latter case `each` is (g,): what it gives without each of g groups of the samples.
    """

    value: float
    each: Array
    is_mean: bool

    def require_finite(self, name: str) -> None:
        """Raise DataError unless all that the metric of this name gives are numbers."""
        wrong = np.flatnonzero(~np.isfinite(self.each)).tolist()
        if math.isfinite(self.value) and not wrong:
            return
        if self.is_mean:
            said = f"{self.each[wrong[0]]} for the original on input {wrong[0]}"
        elif math.isfinite(self.value):
            said = f"{self.each[wrong[0]]} for the original on a part of the inputs"
        else:
            said = f"{self.value} for the original"
        raise DataError(f"metric {name}: gives {said}; expected a finite number")

    @property
    def at_worst(self) -> MetricValue:
        """The same with -inf for what is no number."""
        if math.isfinite(self.value) and np.isfinite(self.each).all():
            return self
        each = np.where(np.isfinite(self.each), self.each, -np.inf)
        value = float(each.mean()) if self.is_mean else self.value
        return replace(self, value=value if math.isfinite(value) else -math.inf, each=each)

    @property
    def is_share(self) -> bool:
        """Whether all of it lies in [0, 1]; numbers that are 0 throughout may be of any unit."""
        if self.each.dtype == np.bool_:
            return True
        return 0 < self.value <= 1 and bool(((self.each >= 0) & (self.each <= 1)).all())

    @property
    def _counts(self) -> bool:
        each = self.each
        return self.is_mean and (each.dtype == np.bool_ or bool(((each == 0) | (each == 1)).all()))

    def against(self, after: MetricValue, samples: int, name: str, is_share: bool) -> Accuracy:
        """The figures of a metric of this name: this before, `after` after."""
        figures = (self.value, after.value, samples, name, is_share)
        if is_share and self._counts and after._counts:
            changed = int(np.count_nonzero(after.each != self.each))
            return Accuracy(*figures, changed=changed)
        return Accuracy(*figures, estimate=self._loss(after, samples))

    def _loss(self, after: MetricValue, samples: int) -> Estimate:
        """How much `after` is less than this."""
        lost = self.each.astype(np.float64) - after.each
        if self.is_mean:
            return paired_mean(lost, float(np.std(self.each, dtype=np.float64)))
        return jackknifed(self.value - after.value, lost, self.each, samples)


class Metric(ABC):
    """How well outputs serve: higher is better. `lowest` is the least there is, where known."""

    name: str
    lowest: ClassVar[float | None] = None

    @abstractmethod
    def require(self, data: Dataset) -> None:
        """Raise DataError where the data lack what it takes."""

    @abstractmethod
    def measure(self, outputs: Outputs, data: Dataset) -> MetricValue:
        """What outputs for all of the data are worth."""

    def settled(self, original: Outputs) -> Metric:  # noqa: ARG002
        """The same, knowing what the original gives."""
        return self

    def margins(self, original: Outputs, data: Dataset) -> DecisionMargins | None:  # noqa: ARG002
        """What tells how much of the metric noise should cost; None where nothing does."""
        return None


@dataclass(frozen=True)
class Top1(Metric):
    """Whether the class of the only output is the label; `threshold` parts two classes."""

    threshold: float = 0.0
    name: str = TOP1
    lowest: ClassVar[float | None] = 0.0

    def require(self, data: Dataset) -> None:
        """Raise DataError where there are no labels."""
        data.require_labels()

    def settled(self, original: Outputs) -> Top1:
        """The same with the threshold of the original's outputs."""
        return replace(self, threshold=binary_threshold(original))

    def measure(self, outputs: Outputs, data: Dataset) -> MetricValue:
        """The share of right answers; DataError where labels do not fit the outputs."""
        right = correct(outputs, data.require_labels(), self.threshold)
        return MetricValue(float(right.mean()), right, is_mean=True)

    def margins(self, original: Outputs, data: Dataset) -> DecisionMargins | None:
        """Those of the labels; None where there is one score per sample."""
        scores = class_scores(original)
        return None if scores is None else DecisionMargins.of(scores, data.require_labels())


TOP1_ACCURACY = Top1()


@dataclass(frozen=True)
class OwnMetric(Metric):
    """A function of outputs and arrays, each (n, ...) by name.

    It gives (n,) numbers, whose mean counts, or one number for all inputs. `file` is the one that
    it was read from, if it was.
    """

    name: str
    function: MetricFunction
    file: str = ""

    @classmethod
    def of(cls, function: MetricFunction) -> OwnMetric:
        """The metric with the function's own name."""
        named = getattr(function, "func", function)  # of functools.partial
        return cls(getattr(named, "__name__", type(named).__name__), function)

    def require(self, data: Dataset) -> None:
        """Raise DataError where an array does not fit the inputs."""
        for name, said in data.faults.items():
            if name not in data.extras:
                raise DataError(f"{said}; --metric takes arrays with one row for each")

    def measure(self, outputs: Outputs, data: Dataset) -> MetricValue:
        """What the function gives, a number for all inputs also without each of some groups.

        Outputs without a row for each sample are left out. Raises DataError naming the line where
        the function fails or gives something else.
        """
        samples = len(data)
        given = {name: y for name, y in outputs.items() if len(y) == samples}
        if not given:
            raise DataError(f"metric {self.name}: no output has one row for each input")
        arrays = {**data.arrays, **data.extras}
        found = self._called(given, arrays, np.arange(samples), whole=True)
        if found.ndim:
            return MetricValue(float(found.mean(dtype=np.float64)), found, is_mean=True)
        others = [np.delete(np.arange(samples), group) for group in groups_of(samples)]
        left_out = [self._called(given, arrays, rows) for rows in others if len(rows)]
        if any(each.ndim for each in left_out):
            raise DataError(f"metric {self.name}: gives one number for some inputs, not for others")
        return MetricValue(float(found), np.array(left_out, np.float64), is_mean=False)

    def _called(
        self, outputs: Outputs, arrays: Mapping[str, Array], rows: Array, whole: bool = False
    ) -> Array:
        """What the function gives for some of the inputs, (n,) or () of numbers."""
        chosen = slice(None) if whole else rows
        given = Rows(outputs, chosen), Rows(arrays, chosen)
        try:
            found = np.array(self.function(*given))  # a copy: it may be used again
        except (Exception, SystemExit) as error:
            known = f" (outputs: {', '.join(outputs)}; arrays: {', '.join(arrays)})"
            said = where_raised(error, self.file) + known * isinstance(error, KeyError)
            raise DataError(f"metric {self.name}: {said}") from error
        if found.dtype.kind not in "biuf" or found.shape not in ((), (len(rows),)):
            what = f"{found.dtype} of shape {found.shape}"
            raise DataError(
                f"metric {self.name}: gives {what} for {len(rows)} inputs; expected one number "
                "for all of them, or one for each"
            )
        return found


class Rows(Mapping[str, Array]):
    """Arrays by name, each cut to some rows when it is asked for, and read-only."""

    def __init__(self, arrays: Mapping[str, Array], rows: slice | Array) -> None:
        self._arrays = arrays
        self._rows = rows
        self._cut: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._cut:
            array = self._arrays[name]
            cut = np.asarray(array[self._rows] if array.ndim else array).view()
            cut.flags.writeable = False
            self._cut[name] = cut
        return self._cut[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
