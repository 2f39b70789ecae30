"""Numbers as people read them: three significant digits and an SI prefix."""

from __future__ import annotations

import math

from eapc.evaluation import TOP1_AGREEMENT

_PREFIXES = dict(
    zip(range(-15, 18, 3), ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P"), strict=True)
)


def engineering(value: float, unit: str = "") -> str:
    """Three significant digits: `3.97 G`, `843 k`, `1.75 µJ` with unit `J`; `12` if whole.

    Numbers without a unit get no prefix below one.
    """
    if not math.isfinite(value):
        return "unknown"
    if value == 0 or (not unit and abs(value) < 1000 and value == int(value)):
        return f"{value:.0f} {unit}".rstrip()
    rounded = float(f"{value:.3g}")
    if not unit and abs(rounded) < 1:
        return f"{rounded:g}"
    thousands = 3 * math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    exponent = min(max(thousands, min(_PREFIXES)), max(_PREFIXES))
    scaled = rounded / 10.0**exponent
    decimals = max(0, 3 - len(str(int(abs(scaled)))))
    return f"{scaled:.{decimals}f} {_PREFIXES[exponent]}{unit}".rstrip()


def joules(picojoules: float) -> str:
    """An energy with the prefix that suits it: `3.3 µJ` of 3.3e6 pJ."""
    return engineering(picojoules * 1e-12, "J")


def milliseconds(time: float) -> str:
    """A latency with the prefix that suits it: `3.3 ms`, `330 µs`."""
    return engineering(time * 1e-3, "s")


def percent(fraction: float | None) -> str:
    """`41.2%`; what rounds to nothing but is not nothing is `<0.1%`, the unknown a dash."""
    if fraction is None or not math.isfinite(fraction):
        return "-"
    if 0 < fraction < 0.0005:
        return "<0.1%"
    return f"{100 * fraction:.1f}%"


def likeness_of(metric: str, value: float) -> str:
    """Three digits of an error; what is a share of samples as `41.2%`."""
    return percent(value) if metric == TOP1_AGREEMENT else f"{value:.3g}"


def count(number: int, noun: str) -> str:
    """`1 node`, `1,200 inputs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(duration: float) -> str:
    """`0.42 s`, `12.3 s`, `3 min 20 s`."""
    if duration < 60:
        return f"{duration:.{2 if duration < 10 else 1}f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s"
