"""Two pruning levels in one file: prune, fit a selector, choose a threshold, judge, write."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eapc.commands.data_checks import check_scale, require_classes, warn_of_repeats
from eapc.commands.level_pairs import LevelPruner, Pair, best_pair, networks_of, source_of
from eapc.commands.network_answers import NetworkAnswers, scores_of_network
from eapc.commands.preparation import DataSource, Settings, load_dataset, open_axes, prepare
from eapc.commands.routed_energy import part_energies
from eapc.data import Dataset
from eapc.energy import GivenBits
from eapc.errors import ModelError, UsageError
from eapc.hardware import MeasuredMachine, load_machine
from eapc.model import Model
from eapc.progress import Progress, silent, timed
from eapc.quantization import LOWEST_OPSET, raised
from eapc.routing import (
    CONFIDENCE_ALONE,
    DynamicNetwork,
    Features,
    Level,
    Router,
    Selection,
    check_routing,
    choose_cut,
    merged,
    pooled_features,
    require_classifiers,
    routed_parts,
    select,
    split,
    with_features,
)
from eapc.runtime import as_it_runs, collect_outputs, verifier

logger = logging.getLogger(__name__)

NetworkSource = float | str | Path | Model
"""A ratio of the original's energy to prune to, or a ready network."""

DEFAULT_DROP = 0.01


def dynamic(
    model: str | Path | Model,
    settings: Settings | None = None,
    *,
    evaluation: DataSource,
    mild: NetworkSource | None = None,
    aggressive: NetworkSource | None = None,
    max_drop: float = DEFAULT_DROP,
    bits: GivenBits | None = None,
    output: str | Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DynamicNetwork:
    """Let an aggressively pruned network answer what it can, and a mild one the rest.

    `mild` and `aggressive` are ratios of the original's energy, reached by channels and zeros, or
    ready networks; what is not given is chosen among several ratios. What is pruned is quantized
    to `bits`, if these are given, and ratios are what that takes. Inputs of `evaluation`, which
    no network may have been fitted on, are shared out: some fit the selector, some choose its
    threshold, and the figures are on the rest. Without labels an answer is right where it is the
    original's. At most `max_drop` of the answers are lost on those that choose.
    """
    settings, start, seconds = settings or Settings(), time.perf_counter(), dict[str, float]()
    _check_options(settings, max_drop)
    original = model if isinstance(model, Model) else Model.load(model)
    given = (_given(mild), _given(aggressive))
    _check_ratios(*given)
    ready = [each for each in given if isinstance(each, Model)]
    original = _at_opset_of(ready, original, quantizes=bits is not None)
    require_classifiers([original, *ready])
    for each in (original, *ready) if output is not None else ():
        each.require_writable(str(output), force)
    data = _evaluation_data(evaluation, original, ready, settings)
    rows = split(data)
    with timed(seconds, "networks"):
        networks, settings, pruner = networks_of(*(original, settings, *given, progress), bits)
    with timed(seconds, "judge-networks"):
        table = NetworkAnswers.of(networks, data, rows, settings)
    pair = best_pair(table.levels, *given, table.right, rows, table.doubts, max_drop)
    with timed(seconds, "route"):
        done = _routed(table, pair, max_drop, settings)
    if pruner is not None and not done.single_is_better and done.energy_ratio < 1:
        with timed(seconds, "rival"):
            done = _with_rival(done, table, pruner, settings)
    if output is not None:
        with timed(seconds, "verify-and-save"):
            few = data.take(rows.judge)
            done.model.save(output, verifier(done.model, frozenset(), few, settings.threads), force)
    if done.single_is_better:
        logger.warning(done.verdict)
    seconds["total"] = time.perf_counter() - start
    return replace(done, output=None if output is None else Path(output), seconds=seconds)


# --- what is given -------------------------------------------------------------------------------


def _check_options(settings: Settings, max_drop: float) -> None:
    if not 0 <= max_drop < 1:
        raise UsageError(f"--max-drop: expected a fraction in [0, 1), got {max_drop}")
    machine = settings.hardware
    machine = load_machine(machine) if isinstance(machine, str | Path) else machine
    if isinstance(machine, MeasuredMachine):
        raise UsageError(
            f"{machine.name} holds measured latencies and no energies; give a machine that has them"
        )


def _given(source: NetworkSource | None) -> float | Model | None:
    """A ratio, a loaded network or nothing."""
    if source is None or isinstance(source, Model):
        return source
    return float(source) if isinstance(source, int | float) else Model.load(source)


def _at_opset_of(ready: Sequence[Model], original: Model, *, quantizes: bool) -> Model:
    """The original at the opset that quantized networks made of it have."""
    if quantizes or any(network.opset == LOWEST_OPSET for network in ready):
        return raised(original)
    return original


def _check_ratios(mild: float | Model | None, aggressive: float | Model | None) -> None:
    for option, value in (("--mild", mild), ("--aggressive", aggressive)):
        if isinstance(value, float) and not 0 < value <= 1:
            raise UsageError(f"{option}: expected a fraction of the energy in (0, 1], got {value}")
    if isinstance(mild, float) and isinstance(aggressive, float) and mild <= aggressive:
        raise UsageError(
            f"--mild {mild:g} is not above --aggressive {aggressive:g}: inputs are sent on from "
            "the aggressively pruned network to the mildly pruned one"
        )


def _evaluation_data(
    source: DataSource | None, original: Model, ready: Sequence[Model], settings: Settings
) -> Dataset:
    """The evaluation inputs, one by one where a network takes no more; as far as they fit."""
    if source is None:
        raise UsageError("--eval: is needed: inputs that fit a selector, choose and judge")
    axes = open_axes(original, settings.input_shapes)
    data = load_dataset(source, original.inputs, axes=axes)
    if data.labels is not None:
        require_classes(original, data, "")
    elif data.unusable_labels:
        data.require_labels()
    if data.shared:
        name = next(iter(data.shared))
        raise ModelError(f"{original.name}: input '{name}' has no axis of samples")
    for network in (original, *ready):
        data = as_it_runs(network, data, settings.threads)
    if (data.fixed_batch or 1) > 1:
        raise ModelError(
            f"{original.name}: the batch is fixed at {data.fixed_batch}: inputs are sent on one by "
            "one; give a network of batch 1 or of an open batch"
        )
    warn_of_repeats(data, "inputs of --eval")
    check_scale(original, data, "--eval", settings.threads)
    return data


# --- the one network -----------------------------------------------------------------------------


def _routed(
    table: NetworkAnswers, pair: Pair, max_drop: float, settings: Settings
) -> DynamicNetwork:
    data, rows, original = table.data, table.rows, table.levels[0]
    mild, aggressive = pair
    first, second = table.right[aggressive.source], table.right[mild.source]
    features, router = _features(table, aggressive, settings.threads)
    gains = second & ~first
    selection = select(features.take(rows.fit), gains[rows.fit])
    hardness = selection.selector.hardness(features)
    least = original.chosen.before - max_drop
    cut = choose_cut(hardness[rows.choose], first[rows.choose], second[rows.choose], least)
    router = replace(router, selector=selection.selector, threshold=cut.value)
    hard = router.is_hard(hardness)
    sent = int(hard[rows.judge].sum())
    model = _merged(pair, router, selection, sent, len(rows.judge), max_drop)
    by_hand = np.where(hard[:, None], table.scores[mild.source], table.scores[aggressive.source])
    check_routing(model, data, by_hand, router, hardness, settings.threads)
    answers = scores_of_network(model, data.take(rows.judge), settings.threads)
    parts = routed_parts(model)
    assert parts is not None  # it has just been made
    share = sent / len(rows.judge)
    first_energy, second_energy = part_energies(prepare(model, settings), parts, share)
    return DynamicNetwork(
        model=model,
        original=original,
        mild=mild,
        aggressive=aggressive,
        singles=table.levels,
        selection=selection,
        cut=cut,
        first=first_energy,
        second=second_energy,
        judged=table.judged(answers),
        sent=sent,
        max_drop=max_drop,
        parts=(len(rows.fit), len(rows.choose), len(rows.judge)),
        one_by_one=router.one_by_one,
    )


def _with_rival(
    done: DynamicNetwork, table: NetworkAnswers, pruner: LevelPruner, settings: Settings
) -> DynamicNetwork:
    """The same beside one network that is pruned to the expected energy."""
    ratio = done.energy_ratio
    level = table.level(source_of(ratio), pruner.pruned(ratio).model, settings)
    return replace(done, singles=(*done.singles, level), has_rival=True)


def _features(table: NetworkAnswers, aggressive: Level, threads: int) -> tuple[Features, Router]:
    """What is known of all inputs, and a router that reads the same; it selects nothing yet."""
    data = table.data
    pooled = pooled_features(aggressive.model, data.shapes(1))
    network, name = with_features(aggressive.model, pooled)
    found = collect_outputs(network, data, threads)[name] if name else None
    confidence = table.kind.confidence(table.scores[aggressive.source])
    router = Router(CONFIDENCE_ALONE, 0.0, table.kind, pooled, one_by_one=data.fixed_batch == 1)
    return Features(confidence, found), router


def _merged(
    pair: Pair, router: Router, selection: Selection, sent: int, samples: int, max_drop: float
) -> Model:
    mild, aggressive = pair
    facts = {
        "share": sent / samples,
        "samples": samples,
        "selector": selection.selector.name,
        "threshold": router.threshold,
        "max_drop": max_drop,
        "mild": Path(mild.source).name,
        "aggressive": Path(aggressive.source).name,
    }
    return merged(aggressive.model, mild.model, router, facts)
