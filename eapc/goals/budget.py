"""What a pruner is asked for: a budget, and how it is shared out."""

from __future__ import annotations

from typing import NamedTuple


class Budget(NamedTuple):
    """A fraction of the dense network's cost, and what the last layers get beyond their share.

    Both are as they are typed. Where it corrects another budget, `split_like`, it is split
    between channels and zeros as that one.
    """

    ratio: float
    tail: float = 0.0
    split_like: float | None = None

    @property
    def settled_by(self) -> float:
        """The budget that channels and zeros are split for."""
        return self.ratio if self.split_like is None else self.split_like
