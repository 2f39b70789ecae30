"""What a machine's estimates were held against, and how far they were off.

A file that says nothing was never held against anything. What it says belongs to its other
figures: in a copy in which they were changed it is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from eapc.hardware.sections import Count, Price, Section, Text


class RowErrors(Section):
    """Root mean square of relative errors of modelled energies on `rows` rows, `of` what kind.

    What was fitted has not seen the row that it is judged by.
    """

    rms: Price
    rows: Count
    of: Text


class PairErrors(RowErrors):
    """The same of ratios between two rows: of the error of log(ratio) over the share that changed.

    `eapc.energy.changed_share` has the share. Pairs share rows: `degrees_of_freedom` are fewer.
    """

    degrees_of_freedom: Count

    @model_validator(mode="after")
    def _no_more_than_rows(self) -> Self:
        if self.degrees_of_freedom > self.rows:
            raise ValueError(f"degrees_of_freedom exceed the {self.rows} rows")
        return self


class Validation(Section):
    """Errors of a machine's energies, and of their ratios between two versions of a network.

    `against` says whether the rows were measured or come from another model that was published;
    `figures` is the mark of the file's other figures (`mark_of_figures`), if that is to be checked.
    """

    against: Literal["measurements", "published estimates"]
    energy: RowErrors | None = None
    ratio: PairErrors | None = None
    figures: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.energy is None and self.ratio is None:
            raise ValueError("give energy, ratio or both, or leave validation out")
        return self


def mark_of_figures(fields: Mapping[str, Any]) -> str:
    """What tells figures from others: `sha256-` and eight digits of their hash."""
    text = json.dumps(fields, sort_keys=True)
    return f"sha256-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
