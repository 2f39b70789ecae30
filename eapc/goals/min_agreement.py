"""--min-agreement: the lowest energy whose outputs are still the original's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eapc.errors import DataError
from eapc.goals.bound import Bound

if TYPE_CHECKING:
    from eapc.evaluation import Agreement
    from eapc.goals.result import Pruned
    from eapc.goals.trials import Trials
    from eapc.model import Model

logger = logging.getLogger(__name__)

HELD_OUT = 0.2
"""Fraction of the calibration inputs that decides and is never fitted."""

_FEWEST = 2
"""Inputs that have a mean to differ from: outputs are judged by how they vary."""

MAX_OUTPUT_ERROR = 0.05
"""Where agreement has no meaning: the largest relative output error."""


@dataclass(frozen=True)
class MinAgreement(Bound["Agreement"]):
    """The lowest energy whose outputs still agree with the original's on held-out inputs.

    Top-1 agreement of at least `value` for classifiers, relative output error of at most
    `MAX_OUTPUT_ERROR` for other networks and on synthesised inputs.
    """

    value: float = 0.98

    option = "--min-agreement"
    metavar = "A"
    help = "Least energy at which outputs agree, in [0, 1]."
    note = "energy=1.0 stands for the lowest budget that is found to agree"
    unmet = "no energy below the original's keeps the outputs"
    held_out = HELD_OUT

    def reached(self, pruned: Pruned) -> float | None:
        """The share that agrees, or the error where that decides."""
        return None if pruned.agreement is None else pruned.agreement.value

    def require_judge(self, trials: Trials) -> None:
        """Raise DataError where the inputs that are held out cannot tell networks apart."""
        judge = trials.of(self).agreement_judge
        samples, made_up = judge.yardstick.samples, judge.data.synthesised
        advice = f"give {'real ones by --calib' if made_up else 'others'}, or an explicit goal"
        if samples < _FEWEST:
            raise DataError(
                f"too few calibration inputs: {samples} held out of the fit decide nothing, at "
                f"least {_FEWEST} do; {advice}"
            )
        if judge.data.is_guesswork:
            raise DataError(
                "nothing tells what values the integer inputs take, so made-up ones decide "
                f"nothing; {advice}"
            )
        if obstacle := judge.yardstick.obstacle:
            which = "made-up inputs" if made_up else "inputs"
            raise DataError(
                f"the outputs are {obstacle} {samples} {which} that are held out: nothing tells "
                f"what they lose; {advice}"
            )

    def judge(self, trials: Trials, model: Model) -> Agreement:
        """Agreement on the inputs that were held out."""
        return trials.agreement_judge.agreement(model, 1.0, MAX_OUTPUT_ERROR)

    def told(self, verdict: Agreement) -> str:
        """The share of answers that changed, or the error of the worst part of the outputs."""
        if verdict.is_share:
            return f"{verdict.loss:.1%} of the answers on {verdict.samples} inputs are others"
        part = f"output part '{verdict.part}'" if verdict.part else "the outputs"
        return f"the relative error of {part} is {verdict.value:.2g}, not {verdict.limit:g}"

    def expected_loss(self, trials: Trials, divergence: float) -> float:
        """About what agreement should lose."""
        return trials.agreement_judge.expected_loss(divergence)

    def is_kept(self, verdict: Agreement) -> bool:
        """Whether enough agrees, or the error is small enough where that decides."""
        return verdict.asking(self.value).is_met

    def allowed(self, trials: Trials) -> float:
        """The share that may differ, or the error."""
        return trials.agreement_judge.allowed(self.value, MAX_OUTPUT_ERROR)

    def figures(
        self,
        trials: Trials,  # noqa: ARG002
        model: Model,  # noqa: ARG002
        verdict: Agreement,
    ) -> Mapping[str, Any]:
        """The agreement; a warning where a value was given that it cannot be held against."""
        if not verdict.is_share and self != DEFAULT_GOAL:
            logger.warning(
                f"{self} has no say: outputs are judged by their relative error, at most "
                f"{MAX_OUTPUT_ERROR}; agreement takes a classifier and 250 real inputs"
            )
        return {"agreement": verdict.asking(self.value)}


DEFAULT_GOAL = MinAgreement()
