"""What a pruner is asked for: a budget, and how it is shared out."""

from __future__ import annotations

from typing import NamedTuple


class Shares(NamedTuple):
    """A budget, and what the last layers get beyond their share of it; both as they are typed.

    Where it corrects another budget, `like`, it is split between channels and zeros as that one.
    """

    budget: float
    late: float = 0.0
    like: float | None = None

    @property
    def settled_by(self) -> float:
        """The budget that channels and zeros are split for."""
        return self.budget if self.like is None else self.like
