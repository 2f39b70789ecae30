#!/usr/bin/env python3
"""Whether a voice activity detector at 50 % zeros still tells speech from noise.

    python benchmarks/speech_detector.py [--sparsity 0.5] [--model FILE]

The model is silero_vad.onnx of EAPC_DATA: an LSTM and convolutions in the branches of an If, fed
chunk by chunk with the state that the chunk before has left. Signals are made by rule
(`speech_signals.py`): speech of several speakers, at -5 to 10 dB over noise and without,
and noises alone. Calibration inputs are chunks with the states that the original had there, of
other seeds than those judged. Printed are, for the original, eapc's result and that of `--method
magnitude`: the mean probability of speech in either, the area under the ROC curve of chunks, and
the relative output error. Ends with 1 where eapc's area is below magnitude's or 0.02 below the
original's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from shared_data import shared_folder
from speech_signals import NOISES, RATE, Array, noise, speech

import eapc
from eapc.data import dataset
from eapc.model import Model
from eapc.pipeline import Recipe

CHUNK, CONTEXT, STATE = 512, 64, (2, 1, 128)
SECONDS = 3.0
SETTLING = 10
"""Chunks at a signal's beginning that are not judged."""


class Stream:
    """Runs a detector over signals."""

    def __init__(self, model: Model) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = onnxruntime.InferenceSession(
            model.to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, signal: Array) -> tuple[Array, Array, Array]:
        """(probabilities, chunks with what precedes them, states before them)."""
        padded = np.concatenate([np.zeros(CONTEXT, np.float32), signal])
        state = np.zeros(STATE, np.float32)
        answers, chunks, states = [], [], []
        for begin in range(0, len(signal) - CHUNK + 1, CHUNK):
            chunks.append(padded[begin : begin + CHUNK + CONTEXT])
            states.append(state)
            feed = {"input": chunks[-1][None], "state": state, "sr": np.array(RATE)}
            answer, state = self._session.run(None, feed)
            answers.append(answer[0, 0])
        return np.array(answers), np.array(chunks), np.array(states)


def signals(first_seed: int, count: int) -> tuple[list[Array], list[Array]]:
    """(speech, noise): so many of each; three of four speakers have a noise behind them."""
    spoken, silent = [], []
    kinds = [*NOISES]
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        voice, kind = speech(SECONDS, rng), kinds[seed % len(kinds)]
        behind = noise(kind, SECONDS, rng)
        level = voice.std() / behind.std() * 10 ** (-rng.uniform(-5, 10) / 20)
        spoken.append(voice + level * behind if seed // len(kinds) % 4 else voice)
        silent.append(noise(kind, SECONDS, rng))
    return spoken, silent


def area(speaking: Array, silent: Array) -> float:
    """Share of pairs of a chunk of speech and one of noise that are in order; ties count half."""
    ordered = np.sort(silent)
    below, up_to = (np.searchsorted(ordered, speaking, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(ordered)))


def calibration(original: Model, count: int) -> eapc.Dataset:
    """Chunks and states of the original on signals of their own, every third chunk."""
    stream = Stream(original)
    runs = [stream.run(signal) for part in signals(1000, count) for signal in part]
    arrays = {
        "input": np.concatenate([chunks[::3] for _, chunks, _ in runs]),
        "state": np.concatenate([states[::3, :, 0] for _, _, states in runs]),
        "sr": np.array(RATE),
    }
    return dataset(arrays, original.inputs, "signals", are_samples=True)


def answers(model: Model, parts: Sequence[Sequence[Array]]) -> tuple[Array, Array]:
    """Probabilities of all judged chunks of speech, and of noise."""
    stream = Stream(model)
    speaking, silent = (
        np.concatenate([stream.run(signal)[0][SETTLING:] for signal in part]) for part in parts
    )
    return speaking, silent


def error(wanted: Sequence[Array], found: Sequence[Array]) -> float:
    """Squared error over variance."""
    one, other = np.concatenate(wanted), np.concatenate(found)
    return float(((one - other) ** 2).mean() / one.var())


def main() -> int:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description="A pruned detector of speech.")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--signals", type=int, default=16, help="speakers, and as many noises")
    given = parser.parse_args()
    original = Model.load(given.model or shared_folder() / "models" / "silero_vad.onnx")
    data = calibration(original, given.signals)
    judged = signals(0, given.signals)
    models = {"original": original}
    for name, method in (("eapc", "admm"), ("magnitude", "magnitude")):
        settings = eapc.Settings(calibration=data, threads=1)
        goal = eapc.Sparsity(given.sparsity)
        models[name] = eapc.prune(original, settings, goal=goal, recipe=Recipe(method=method)).model
    print(f"{len(data)} chunks to calibrate on; {given.sparsity:.0%} zeros")
    print(
        f"{'':10}{'in speech':>10}{'in noise':>10}{'missed':>8}{'alarms':>8}{'area':>8}{'error':>8}"
    )
    areas, wanted = {}, answers(original, judged)
    for name, model in models.items():
        found = answers(model, judged)
        areas[name] = area(*found)
        means = f"{found[0].mean():10.3f}{found[1].mean():10.3f}"
        means += f"{(found[0] < 0.5).mean():8.2%}{(found[1] >= 0.5).mean():8.2%}"
        print(f"{name:10}{means}{areas[name]:8.4f}{error(wanted, found):8.4f}")
    least = max(areas["magnitude"], areas["original"] - 0.02)
    return int(areas["eapc"] < least)


if __name__ == "__main__":
    sys.exit(main())
