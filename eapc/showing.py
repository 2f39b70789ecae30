"""What results of commands have in common: they show themselves.

How a kind of result looks is the business of `eapc.report`, which reads results and so stands
above them; a result finds its own view by name in `VIEWS`.
"""

from __future__ import annotations

from typing import Any

from eapc.errors import MissingLibraryError
from eapc.registry import VIEWS


class Shown:
    """A result that can be printed, handed to other programs and shown in a notebook."""

    @property
    def _view(self) -> Any:
        return VIEWS[next(kind.__name__ for kind in type(self).__mro__ if kind.__name__ in VIEWS)]

    def to_json(self) -> str:
        """The document that the command prints with `--json`, but for warnings that were logged."""
        text: str = self._view.json(self)
        return text

    def to_dataframe(self) -> Any:
        """A pandas.DataFrame with the rows that the command writes with `--csv`, where it does.

        Raises MissingLibraryError, which is an ImportError, without pandas.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            said = "to_dataframe: needs pandas: pip install pandas; to_json needs nothing"
            raise MissingLibraryError(said) from error
        columns, rows = self._view.table(self)
        return DataFrame([[row.get(name) for name in columns] for row in rows], columns=columns)

    def __repr__(self) -> str:
        text: str = self._view.line(self)
        return text

    def _repr_html_(self) -> str:
        text: str = self._view.html(self)
        return text
