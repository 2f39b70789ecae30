"""Speech-like signals and noises at 16 kHz, made by rule, for `speech_detector.py`.

Speech is a train of glottal pulses through resonators at the formants of vowels (Peterson, Barney,
J. Acoust. Soc. Am. 24, 1952), in syllables with noise of consonants before them and pauses between
words; speakers differ in pitch and length of the vocal tract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator
RATE = 16_000

VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
"""First three formants in Hz of a, i, u, e and o."""
WIDTHS = (60, 90, 150, 200)
"""Of the formants, in Hz."""


def resonated(x: Array, frequencies: Array, width: float) -> Array:
    """x through one resonance whose frequency (Hz) moves: y[t] = g x[t] + b y[t-1] - c y[t-2]."""
    c = float(np.exp(-2 * np.pi * width / RATE))
    turns = 2 * np.exp(-np.pi * width / RATE) * np.cos(2 * np.pi * frequencies / RATE)
    y, before, older = np.empty_like(x), 0.0, 0.0
    for t, (value, b) in enumerate(zip(x.tolist(), turns.tolist(), strict=True)):
        now = (1 - b + c) * value + b * before - c * older
        y[t], older, before = now, before, now
    return y


def speech(seconds: float, rng: Rng) -> Array:
    """One speaker's babble; peaks at 0.3 or so."""
    count = int(seconds * RATE)
    pitch, tract = rng.uniform(95, 220), rng.uniform(0.95, 1.15)
    loud, hiss, height = (np.zeros(count) for _ in range(3))
    formants = np.empty((3, count))
    begin = 0
    previous = np.array(VOWELS[0], float)
    while begin < count:
        length = int(rng.uniform(0.14, 0.28) * RATE)
        here = slice(begin, min(begin + length, count))
        phase = np.arange(here.stop - here.start) / length
        vowel = np.array(VOWELS[rng.integers(len(VOWELS))], float) * tract
        glide = np.minimum(phase / 0.4, 1)[None]
        formants[:, here] = previous[:, None] * (1 - glide) + vowel[:, None] * glide
        height[here] = pitch * (1 + 0.15 * rng.normal()) * (1 - 0.1 * phase)
        loud[here] = rng.uniform(0.6, 1) * np.clip((phase - 0.2) / 0.15, 0, 1)
        loud[here] *= np.clip((1 - phase) / 0.15, 0, 1)
        hiss[here] = 0.5 * rng.random() * np.clip(1 - np.abs(phase - 0.1) / 0.12, 0, 1)
        begin, previous = here.stop, vowel
        if rng.random() < 0.12:
            pause = slice(begin, min(begin + int(rng.uniform(0.1, 0.3) * RATE), count))
            formants[:, pause], height[pause] = vowel[:, None], pitch
            begin = pause.stop
    cycles = np.cumsum(height * (1 + 0.01 * rng.normal(size=count)) / RATE)
    place = cycles % 1
    flow = np.where(place < 0.6, np.sin(np.pi * place / 0.6) ** 2, 0)
    source = np.diff(flow, prepend=0) * 8 * loud + 0.01 * loud * rng.normal(size=count)
    voice = source
    for frequencies, width in zip((*formants, np.full(count, 3500.0)), WIDTHS, strict=True):
        voice = resonated(voice, frequencies, width)
    fricative = np.diff(rng.normal(size=count), prepend=0) * hiss
    voice = voice / np.abs(voice).max() + 0.05 * fricative + 0.001 * rng.normal(size=count)
    return np.asarray(0.3 * voice, np.float32)


def white(count: int, rng: Rng) -> Array:
    """All frequencies alike."""
    return np.asarray(rng.normal(size=count))


def pink(count: int, rng: Rng) -> Array:
    """As much power in each octave."""
    spectrum = np.fft.rfft(rng.normal(size=count))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20)), count)


def hum(count: int, rng: Rng) -> Array:
    """50 Hz and its harmonics."""
    t = np.arange(count) / RATE
    parts = (np.sin(2 * np.pi * (50 * k * t + rng.random())) / k for k in range(1, 9))
    return np.asarray(sum(parts) + 0.02 * rng.normal(size=count))


def clicks(count: int, rng: Rng) -> Array:
    """Ten a second, each dying away in a millisecond or so."""
    train = np.where(rng.random(count) < 10 / RATE, rng.normal(size=count), 0)
    decay = np.exp(-np.arange(200) / 20) * np.cos(np.arange(200))
    return np.convolve(train, decay)[:count] + 0.002 * rng.normal(size=count)


NOISES: Mapping[str, Callable[[int, Rng], Array]] = {
    "white": white,
    "pink": pink,
    "hum": hum,
    "clicks": clicks,
}


def noise(kind: str, seconds: float, rng: Rng) -> Array:
    """One noise; loudness differs from one to the next by a factor of up to ten."""
    made = NOISES[kind](int(seconds * RATE), rng)
    return np.asarray(10 ** rng.uniform(-2, -1) * made / made.std(), np.float32)
