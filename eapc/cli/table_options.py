"""Options that say which rows a table has; documents and files of values have all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Option

if TYPE_CHECKING:
    from eapc.report.grouping import RowChoice

_TABLE = "Table"


@dataclass(frozen=True)
class TableOptions:
    """A table's rows; the same for all commands whose tables have a row per node or layer."""

    top: Annotated[
        int | None,
        Option(
            "--top",
            min=1,
            metavar="N",
            help="Print the N rows that take most; --json and --csv keep all.",
            rich_help_panel=_TABLE,
        ),
    ] = None
    by: Annotated[
        str | None,
        Option(
            "--by",
            metavar="block|operator|node",
            help="A row per block of like-named nodes, per operator, or per node.",
            rich_help_panel=_TABLE,
        ),
    ] = None

    def rows(self) -> RowChoice:
        """What the options ask for; UsageError for a word that is no kind of row."""
        from eapc.report.grouping import row_choice

        return row_choice(self.top, self.by)
