"""Which of the prunable layers are pruned, how much of each by name, and in which pattern.

A layer is named by one of its nodes, its weight or its operator type, or by a glob over these
(`conv1`, `block3/*`, `Gemm`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from eapc.errors import UsageError
from eapc.layers.layer import PrunableLayers, Skipped, TiedLayers
from eapc.model import Model
from eapc.solvers import Pattern, parse_pattern

EXCLUDED = "excluded"
FIXED = "weights are fixed arithmetic"


def choose(
    found: PrunableLayers, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> PrunableLayers:
    """The layers that a name in `include` means, all if there is none, without those of `exclude`.

    Layers whose weights were not learnt take their own name: neither all nor a glob means them.
    Raises UsageError where a name means no layer.
    """
    for option, names in (("include", include), ("exclude", exclude)):
        for name in names:
            _require_meaning(option, name, found)
    chosen = {
        tied.weight
        for tied in found.layers
        if (not include or _is_any_of(tied, include)) and not _is_any_of(tied, exclude)
    }
    fixed = {
        tied.weight: f"{FIXED}: {tied.fixed}; --include '{tied.first.node.key}' prunes them"
        for tied in found.layers
        if tied.weight in chosen and tied.fixed and not _is_named(tied, include)
    }
    for name in include:
        meant = [tied for tied in found.layers if _is_any_of(tied, [name])]
        if all(tied.weight in fixed for tied in meant):
            key, reason = meant[0].first.node.key, fixed[meant[0].weight]
            raise UsageError(f"include: '{name}' means '{key}', which is left alone: {reason}")
    others = {tied.weight for tied in found.layers} - chosen
    return _only(found, chosen - fixed.keys(), {**dict.fromkeys(others, EXCLUDED), **fixed})


def without(found: PrunableLayers, weights: Set[str], reason: str) -> PrunableLayers:
    """The layers but for those of some weights, which are left alone for a reason."""
    others = {tied.weight for tied in found.layers} - weights
    return _only(found, others, dict.fromkeys(weights, reason)) if weights else found


def pattern_of(tied: TiedLayers, text: str) -> Pattern:
    """The pattern spelled `text`, for a layer's operator; raises UsageError."""
    return parse_pattern(text, tied.first.form.positions)


def suited(found: PrunableLayers, model: Model, text: str) -> PrunableLayers:
    """The layers that a pattern suits; what it leaves alone in or of the layers is said.

    Raises UsageError if the spelling is unknown.
    """
    chosen, reasons = set(), {}
    for tied in found.layers:
        _, m, k = tied.matrix(model).shape
        remark = pattern_of(tied, text).remark(m, k)
        if remark.text:
            reasons[tied.weight] = f"{text}: {remark.text}"
        if remark.applies:
            chosen.add(tied.weight)
    return _only(found, chosen, reasons)


def _only(found: PrunableLayers, weights: Set[str], reasons: Mapping[str, str]) -> PrunableLayers:
    """The layers of some weights; `reasons`, by weight, say what is left alone in or of layers."""
    skipped = tuple(
        Skipped(user.node.key, reasons[tied.weight])
        for tied in found.layers
        if tied.weight in reasons
        for user in tied.users
    )
    chosen = tuple(tied for tied in found.layers if tied.weight in weights)
    return PrunableLayers(chosen, found.skipped + skipped)


# --- densities by layer ----------------------------------------------------------------------


def read_layer_densities(path: Path) -> Mapping[str, float]:
    """The density, in (0, 1], of each name in a YAML file; raises UsageError with file and key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not a YAML file: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path}: expected a mapping of layers to densities")
    return {str(key): _density(path, str(key), value) for key, value in content.items()}


def _density(path: Path, key: str, value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 < value <= 1):  # type: ignore[operator]  # a number by now
        raise UsageError(f"{path}: {key}: expected a density in (0, 1], got {value!r}")
    return float(value)  # type: ignore[arg-type]


def given_densities(
    found: PrunableLayers, table: Mapping[str, float], path: Path
) -> dict[str, float]:
    """The density of each weight by a table that was read from `path`; 1 where none is given.

    A name goes before a glob or an operator type, the later entry before the earlier. Raises
    UsageError where an entry means no layer.
    """
    for key in table:
        _require_meaning(str(path), key, found)
    return {tied.weight: _given(tied, table) for tied in found.layers}


def _given(tied: TiedLayers, table: Mapping[str, float]) -> float:
    meant = [key for key in table if _is_any_of(tied, [key])]
    exact = [key for key in meant if key in _names(tied)]
    return table[(exact or meant)[-1]] if meant else 1.0


# --- names -----------------------------------------------------------------------------------


def _names(tied: TiedLayers) -> list[str]:
    return [tied.weight, *(n for user in tied.users for n in (user.node.key, user.name))]


def _is_named(tied: TiedLayers, names: Sequence[str]) -> bool:
    return not set(names).isdisjoint(_names(tied))


def _is_any_of(tied: TiedLayers, patterns: Iterable[str]) -> bool:
    names = [*_names(tied), tied.first.node.op_type]
    return any(
        name == pattern or fnmatchcase(name, pattern) for pattern in patterns for name in names
    )


def _require_meaning(where: str, pattern: str, found: PrunableLayers) -> None:
    layers = found.layers
    if any(_is_any_of(tied, [pattern]) for tied in layers):
        return
    for skip in found.skipped:
        if fnmatchcase(skip.name, pattern):
            raise UsageError(
                f"{where}: '{pattern}' means '{skip.name}', which is left alone: {skip.reason}"
            )
    known = dict.fromkeys(
        name for tied in layers for name in (*_names(tied), tied.first.node.op_type)
    )
    near = get_close_matches(pattern, known, n=3, cutoff=0.4) or list(known)[:3]
    raise UsageError(f"{where}: '{pattern}' means no prunable layer; near it: {', '.join(near)}")
