#!/usr/bin/env python3
"""Two pruning levels in one file against one network, on images that decided nothing.

    python benchmarks/dynamic_inference.py                         # both networks, 3 points and 1
    python benchmarks/dynamic_inference.py resnet20 --drops 0.03 --mild m.onnx --aggressive a.onnx
    python benchmarks/dynamic_inference.py resnet20 --search       # the best single network anew

Energies are fractions of the original's, modelled; accuracies are on the judging part of the
evaluation images. `best single` is the cheapest network at hand, those of `--singles` included,
that keeps the drop on the images that choose thresholds; with `--search` it is what `eapc prune
--structured --zeros --max-drop` makes with the images that fit selectors and choose thresholds.
The file is run at batch 1 and 32 against both networks routed by hand, and easy and hard inputs
are timed in onnxruntime, all in turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tasks import TASKS, Task

from eapc.commands.compiler import analyze, prune
from eapc.commands.dynamic import dynamic
from eapc.commands.preparation import Settings
from eapc.data import Dataset
from eapc.evaluation import AccuracyJudge
from eapc.goals import MaxDrop
from eapc.model import Array, Model
from eapc.pipeline import Recipe
from eapc.profiling import run_in_turns
from eapc.routing import DynamicNetwork, routed_parts, split
from eapc.runtime import Session, open_model, with_outputs

_ROUNDS = 200
_CHECKED = 96


def report(name: str, task: Task, drop: float, options: argparse.Namespace) -> None:
    """What one network comes to at one drop."""
    model = task.load()
    settings, images = (
        task.settings(hardware=options.hw, threads=options.threads),
        task.images(model),
    )
    done = dynamic(
        *(model, settings),
        evaluation=images,
        mild=options.mild,
        aggressive=options.aggressive,
        max_drop=drop,
    )
    print(f"\n{name}, at most {100 * drop:g} points on images that choose; others judge")
    for level in done.singles:
        line(level.source, done.ratio(level.energy.energy_mac_units), level.judged.after)
    if options.search:
        line("best single, searched", *searched(model, task, images, drop, options))
    else:
        line("best single", *min(keeping(done, images, drop, settings, options)))
    line("dynamic, expected", done.energy_ratio, done.judged.after)
    low, high = (100 * end for end in done.share_interval)
    print(f"  sent on {100 * done.share:.1f} % ({low:.1f} to {high:.1f}); {done.verdict}")
    checked(done, images)
    timed(done, images, options.threads)


def line(name: str, ratio: float, accuracy: float) -> None:
    print(f"  {name:50}{ratio:>8.3f}{100 * accuracy:>8.2f}")


def keeping(
    done: DynamicNetwork,
    images: Dataset,
    drop: float,
    settings: Settings,
    options: argparse.Namespace,
) -> Iterator[tuple[float, float]]:
    """Energy and judged accuracy of the networks that keep the drop on images that choose."""
    for level in done.singles:
        if level.chosen.is_within(drop):
            yield done.ratio(level.energy.energy_mac_units), level.judged.after
    rows = split(images)
    for path in options.singles:
        model = Model.load(path)
        chosen, judged = (
            AccuracyJudge.of(done.original.model, images.take(part), options.threads).accuracy(
                model
            )
            for part in (rows.choose, rows.judge)
        )
        ratio = done.ratio(analyze(model, settings).energy.energy_mac_units)
        line(str(path), ratio, judged.after)
        if chosen.is_within(drop):
            yield ratio, judged.after


def searched(
    model: Model, task: Task, images: Dataset, drop: float, options: argparse.Namespace
) -> tuple[float, float]:
    """Energy and accuracy of one network that is pruned as far as the drop allows."""
    rows = split(images)
    deciding = images.take(np.sort(np.concatenate([rows.fit, rows.choose])))
    settings = task.settings(hardware=options.hw, threads=options.threads)
    recipe = Recipe(structured=True, zeros=True)
    done = prune(model, settings, goal=MaxDrop(drop), recipe=recipe, evaluation=deciding)
    judge = AccuracyJudge.of(model, images.take(rows.judge), options.threads)
    return done.energy_ratio, judge.accuracy(done.model).after


def routes(model: Model) -> Session:
    """A session that tells which inputs it sends on, too."""
    parts = routed_parts(model)
    assert parts is not None
    return Session(with_outputs(model.to_proto(embed=True), [*model.outputs, parts.hard]), 1)


def hard_rows(done: DynamicNetwork, images: Dataset) -> Array:
    """(n,) booleans: which images are sent on."""
    session = routes(done.model)
    return np.concatenate([session.run(feed)[session.outputs[1]] for feed in images.batches(32)])


def checked(done: DynamicNetwork, images: Dataset) -> None:
    """The largest difference from routing by hand at batch 1 and 32."""
    session = routes(done.model)
    parts = [open_model(level.model, 1) for level in (done.mild, done.aggressive)]
    (answer,) = done.model.outputs
    for batch in (1, 32):
        worst, sent = 0.0, 0
        for feed in images.take(slice(0, _CHECKED)).batches(batch):
            given, hard = session.run(feed).values()
            mild, aggressive = (np.asarray(part.run(feed)[answer]) for part in parts)
            expected = np.where(np.asarray(hard)[:, None], mild, aggressive)
            worst = max(worst, float(np.abs(np.asarray(given) - expected).max()))
            sent += int(np.sum(hard))
        print(
            f"  batch {batch}: {sent} of {_CHECKED} sent on, outputs within {worst:.1e} of by hand"
        )


def timed(done: DynamicNetwork, images: Dataset, threads: int) -> None:
    """Median milliseconds of easy and hard inputs beside both networks alone, at batch 1."""
    is_hard = hard_rows(done, images)
    file, mild, aggressive = (
        open_model(model, threads) for model in (done.model, done.mild.model, done.aggressive.model)
    )
    runs = {}
    for name, wanted in (("easy", ~is_hard), ("hard", is_hard)):
        if wanted.any():
            feed = next(images.take(np.flatnonzero(wanted)[:1]).batches(1))
            runs[name] = partial(file.run, feed)
    feed = next(images.batches(1))
    runs |= {
        "aggressive alone": partial(aggressive.run, feed),
        "mild alone": partial(mild.run, feed),
    }
    times = run_in_turns(list(runs.values()), _ROUNDS).median_ms
    told = (f"{name} {ms:.2f}" for name, ms in zip(runs, times, strict=True))
    print(f"  ms at batch 1, {threads} threads: {', '.join(told)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Two pruning levels against one network.")
    parser.add_argument("networks", nargs="*", default=["resnet20", "resnet32"])
    parser.add_argument("--hw", default="eyeriss", metavar="NAME|PATH")
    parser.add_argument("--drops", nargs="+", type=float, default=(0.03, 0.01))
    parser.add_argument("--mild", type=Path, help="a ready network, tuned or not")
    parser.add_argument("--aggressive", type=Path)
    parser.add_argument("--singles", nargs="*", type=Path, default=[], help="further networks")
    parser.add_argument("--search", action="store_true", help="prune a single network to the drop")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    for name in options.networks:
        for drop in options.drops:
            report(name, TASKS[name], drop, options)


if __name__ == "__main__":
    main()
