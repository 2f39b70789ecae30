"""The options that say how layers are pruned, whatever the goal.

Their choices are written out: the tables that hold them take too long to import for --help.
"""

from __future__ import annotations

from typing import Annotated

from typer import Option

_PANEL = "How layers are pruned"

Method = Annotated[
    str,
    Option(
        "--method",
        metavar="NAME",
        help="admm, eap, sparsegpt, wanda or magnitude.",
        rich_help_panel=_PANEL,
    ),
]
Thorough = Annotated[
    bool,
    Option(
        "--thorough",
        metavar="",
        help="Take more time for large layers too.",
        rich_help_panel=_PANEL,
    ),
]
Pattern = Annotated[
    str,
    Option(
        "--pattern",
        metavar="P",
        help="unstructured, N:M such as 2:4, block:RxC or kernel.",
        rich_help_panel=_PANEL,
    ),
]
Include = Annotated[
    list[str] | None,
    Option(
        "--include",
        metavar="GLOB",
        help="Prune these layers only: nodes, weights, operators.",
        rich_help_panel=_PANEL,
    ),
]
Exclude = Annotated[
    list[str] | None,
    Option(
        "--exclude",
        metavar="GLOB",
        help="Leave these layers as they are; repeatable.",
        rich_help_panel=_PANEL,
    ),
]
Order = Annotated[
    str,
    Option(
        "--order",
        metavar="NAME",
        help="How energy is shared out: shared, energy or uniform.",
        rich_help_panel=_PANEL,
    ),
]
