"""How layers are pruned, whatever the goal: the passes, and the options a goal does not set."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eapc.energy import GivenBits
from eapc.errors import UsageError
from eapc.pipeline.objectives import OBJECTIVES
from eapc.pipeline.passes import SEPARATOR, Pass, Pipeline, load_passes
from eapc.registry import CRITERIA
from eapc.structured import DEFAULT_CRITERION

_UNTYPABLE = re.compile(rf"[,{{}}{re.escape(SEPARATOR)}\s]")
"""What a pipeline's text has other uses for: in a name, a glob's ? stands for it."""


Options = Mapping[str, Any]
"""What is asked of the pass that prunes, by its options' names."""

_OF_ZEROS: dict[str, Any] = {
    "method": "admm",
    "thorough": False,
    "pattern": "unstructured",
    "order": "shared",
}
"""Options that mean nothing where channels alone go, and their defaults."""


@dataclass(frozen=True)
class Recipe:
    """What the pipelines of every goal have in common; `passes` is the table of passes.

    `method` and `thorough` say how each layer is pruned, `pattern` which weights survive
    together, `include` and `exclude` name layers, `order` shares out an energy budget.
    With `structured` whole channels go, chosen by `criterion`; with `zeros` as well, weights of
    what is left are zeroed then. `objective` says what a budget is one of, see `OBJECTIVES`; left
    empty it is whichever the machine tells. Every result goes through `repair` rounds of repair;
    what comes out is quantized to `bits`, if these are given; kinds that they leave out have 8.
    With `mixed_bits` each tensor has the bits that lose least for the budget, 8 at most.
    With `finetune` it is trained for `minutes` at most: what is pruned and what is quantized half
    of them each, where there are bits. `classes` are those that a classifier is cut to first, in
    their new order; none leaves it all of them.
    """

    passes: Mapping[str, type[Pass]] = field(default_factory=load_passes)
    method: str = _OF_ZEROS["method"]
    thorough: bool = _OF_ZEROS["thorough"]
    pattern: str = _OF_ZEROS["pattern"]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    order: str = _OF_ZEROS["order"]
    structured: bool = False
    zeros: bool = False
    criterion: str = DEFAULT_CRITERION
    objective: str = ""
    repair: int = 0
    finetune: bool = False
    minutes: float = math.inf
    classes: tuple[str, ...] = ()
    bits: GivenBits | None = None
    mixed_bits: bool = False

    def __post_init__(self) -> None:
        if self.zeros and not self.structured:
            raise UsageError("--zeros come on top of channels: give --structured as well")
        if self.criterion != DEFAULT_CRITERION and not self.structured:
            raise UsageError("--criterion chooses channels: give --structured as well")
        if self.widths is not None:
            self._quantize(self.widths)
        if self.repair < 0:
            raise UsageError(f"--repair {self.repair}: expected a number of rounds, 1 or more")
        if self.minutes < math.inf and not self.finetune:
            raise UsageError("--minutes bound the training: give --finetune as well")
        CRITERIA.require(self.criterion)
        if self.objective and self.objective not in OBJECTIVES:
            raise UsageError(
                f"unknown objective '{self.objective}'; choose from {', '.join(OBJECTIVES)}"
            )
        if self.objective == "latency" and (self.zeros or not self.structured):
            raise UsageError(
                "zeros save no time on stock runtimes: latency takes --structured without --zeros"
            )
        if self.structured and not self.zeros:
            self._require_no_options_of_zeros()

    def pipeline(self, goal: Options, held_out: float | None = None) -> Pipeline:
        """The pipeline that prunes with these options, such as {"energy": 0.7}, to the recipe.

        The options are those of prune-weights, or of prune-channels where the recipe is
        structured. With `held_out` that fraction of the inputs takes no part in it. Raises
        UsageError where options do not go together.
        """
        return self.whole(self.steps(goal), held_out)

    def steps(self, goal: Options) -> tuple[Pass, ...]:
        """What that pipeline does to the annotated network; the first step chooses what goes."""
        if self.zeros:
            steps = (*self.channels(goal), *self.weights(self.budget(1.0)))
        else:
            steps = self.channels(goal) if self.structured else self.weights(goal)
        return (*steps, *self.training)

    @property
    def training(self) -> tuple[Pass, ...]:
        """The steps that repair or train what has been pruned; none unless that is asked for."""
        steps = [self._made("repair-outputs", rounds=self.repair)] if self.repair else []
        if self.finetune:
            steps.append(self._fine_tuning)
        return (*steps, self._annotated) if steps else ()

    @property
    def widths(self) -> GivenBits | None:
        """The widths of weights and activations that come out; None leaves them as they are."""
        bits = GivenBits() if self.mixed_bits else self.bits
        return bits and replace(bits, weights=bits.weights or 8, activations=bits.activations or 8)

    def settling(self, ratio: float) -> tuple[Pass, ...]:
        """The steps that price what is pruned at the widths to come; none without any.

        Mixed ones are chosen for a fraction of the dense energy, pruning's share included.
        """
        if self.mixed_bits:
            return self._choosing_widths(ratio)
        if self.widths is None or not self.is_of_energy:
            return ()
        return (self._made("set-widths", **_typed_widths(self.widths)), self._annotated)

    @property
    def is_of_energy(self) -> bool:
        """Whether a budget is one of energy."""
        return self.objective in ("", "energy")

    @property
    def quantizing(self) -> tuple[Pass, ...]:
        """The steps that quantize what is left; none unless that is asked for."""
        if self.widths is None:
            return ()
        return (self._quantize(self.widths), self._annotated)

    @property
    def training_on_grids(self) -> tuple[Pass, ...]:
        """The steps that train what is quantized; none unless both are asked for."""
        if self.widths is None or not self.finetune:
            return ()
        return (self._fine_tuning, self._annotated)

    @property
    def finishing(self) -> tuple[Pass, ...]:
        """All that is behind pruning, and repair and training in floats."""
        return (*self.quantizing, *self.training_on_grids)

    def _choosing_widths(self, ratio: float) -> tuple[Pass, ...]:
        options: dict[str, Any] = {"zeros": self.zeros or not self.structured}
        if self.structured:
            options |= {"structured": True, **self._given("criterion")}
        chosen = self._given("include", "exclude")
        return (self._made("choose-widths", energy=ratio, **options, **chosen), self._annotated)

    def untrained(self) -> Recipe:
        """The same without repair and training."""
        return replace(self, repair=0, finetune=False, minutes=math.inf)

    def at_widest(self) -> Recipe:
        """The same with the widest bits everywhere where they are mixed."""
        return replace(self, bits=self.widths, mixed_bits=False)

    def before_quantizing(self) -> Recipe:
        """What goes before quantizing: the same with its part of the minutes."""
        return replace(self, bits=None, mixed_bits=False, minutes=self._minutes)

    def whole(self, steps: Sequence[Pass], held_out: float | None = None) -> Pipeline:
        """The pipeline that takes these steps on the inputs that are not held out."""
        held = [] if held_out is None else [self._made("hold-out-inputs", fraction=held_out)]
        return Pipeline((*self.cut(), *held, self._annotated, *steps))

    def cut(self) -> tuple[Pass, ...]:
        """The step that cuts a classifier to the classes that are kept, if any are named."""
        return (self._made("keep-classes", **self._given("classes")),) if self.classes else ()

    def weights(self, goal: Options) -> tuple[Pass, ...]:
        """The steps that zero weights."""
        chosen, order = self._given("pattern", "include", "exclude"), self.order
        fitted = self._given("method", "thorough", "pattern")
        return (
            self._made("prune-weights", **goal, **chosen, order=order),
            self._made("reconstruct-outputs", **fitted),
            self._annotated,
        )

    def channels(self, goal: Options) -> tuple[Pass, ...]:
        """The steps that take out channels; these leave zeros a share if there are to be any."""
        chosen = self._given("criterion", "include", "exclude", "zeros")
        timed = {"bits": 8} if self.bits and self.objective == "latency" else {}
        return (
            self._made("prune-channels", **goal, **chosen, **timed),
            self._made("reconstruct-outputs", keep_mask=True),
            self._made("shrink-channels", near_dead=True),
            self._annotated,
        )

    def annotation(self) -> Pipeline:
        """The pipeline that only estimates energy."""
        return self.whole(())

    def evenly(self, fraction: float) -> Options:
        """The option that takes the same fraction everywhere: of weights or of channels."""
        if self.zeros:
            raise UsageError("--sparsity is one number: with channels and zeros there are two")
        return {"fraction" if self.structured else "sparsity": fraction}

    def budget(self, ratio: float, tail: float = 0.0) -> Options:
        """The options that keep a fraction of the objective: {"energy": 0.7}.

        With `tail`, a fraction as well, the last layers get so much more than their share.
        """
        late = {"late": tail} if tail else {}
        return {self.objective or OBJECTIVES[0]: ratio, **late}

    def removing(self) -> Recipe:
        """The same without zeros: channels alone go."""
        return replace(self, zeros=False, **_OF_ZEROS)

    def zeroing(self) -> Recipe:
        """The same without channels."""
        return replace(self, structured=False, zeros=False, criterion=DEFAULT_CRITERION)

    def _require_no_options_of_zeros(self) -> None:
        for name, default in _OF_ZEROS.items():
            if getattr(self, name) != default:
                raise UsageError(
                    f"--{name} is one of zeros: give --zeros as well, or no --structured"
                )

    def _quantize(self, bits: GivenBits) -> Pass:
        return self._made("quantize", **_typed_widths(bits), **self._given("pattern"))

    @property
    def _fine_tuning(self) -> Pass:
        return self._made("fine-tune", minutes=self._minutes)

    @property
    def _minutes(self) -> float:
        """What one training may take: floats take less of a step, codes have the last word."""
        return self.minutes if self.widths is None else self.minutes / 2

    @property
    def _annotated(self) -> Pass:
        return self._made("annotate-energy")

    def _made(self, name: str, **options: Any) -> Pass:
        make: Callable[..., Pass] = self.passes[name]
        return make(**options)

    def _given(self, *names: str) -> dict[str, Any]:
        """These options, names as a pipeline's text can have them."""
        return {name: _typable(getattr(self, name)) for name in names}


def _typed_widths(bits: GivenBits) -> dict[str, Any]:
    """Widths as the options of passes that have them."""
    named = _typable(tuple(f"{name}:{width}" for name, width in bits.by_tensor))
    given = {"weights": bits.weights, "activations": bits.activations}
    told = {kind: width for kind, width in given.items() if width != 8}
    return {**told, "tensors": named}


def _typable(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_UNTYPABLE.sub("?", name) for name in value)
    return value
