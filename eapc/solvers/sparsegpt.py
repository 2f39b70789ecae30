"""SparseGPT: column by column, each cut weight made up for by the columns still to come [1].

With H^-1 = U^T U, U upper triangular, the weights of column j that are cut move the later
columns by -w_j U_j,j+1: / U_jj, the step of Optimal Brain Surgeon among the columns from j
on; a weight costs (w_j / U_jj)^2. The mask of a part of the columns (128, or the m of an
n:m pattern) is chosen when its turn comes, over all rows of the layer.

[1] Frantar and Alistarh 2023, SparseGPT: Massive language models can be accurately pruned in
    one-shot.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eapc.solvers import blas
from eapc.solvers.methods import Method
from eapc.solvers.patterns import MaskBlock, Pattern
from eapc.solvers.problem import LayerProblem, scaled

WIDTH = 128
"""Columns updated at once, and whose mask is chosen at once where the pattern leaves it open."""

_Columns = NDArray[np.float32]
"""A weight transposed, (groups, k, m): its columns lie together."""


def sparsegpt(problem: LayerProblem, nonzeros: int, pattern: Pattern) -> NDArray[np.float32]:
    """The weight (groups, m, k) that SparseGPT leaves.

    It starts from the dense weight that fits the targets best: the original one where they
    are its own outputs, as in [1].
    """
    layer = scaled(problem)
    parts = list(pattern.mask_blocks(problem.weight.shape[2], WIDTH))
    order = np.concatenate([columns for columns, _ in parts])
    factor = blas.inverse_factors(layer.problem.gram.dense()[:, order[:, None], order])
    dense = np.matmul(np.matmul(layer.problem.G[:, :, order], factor.transpose(0, 2, 1)), factor)
    columns = np.ascontiguousarray(dense.transpose(0, 2, 1))
    _prune(columns, factor, parts, nonzeros)
    pruned = np.empty_like(dense)
    pruned[:, :, order] = columns.transpose(0, 2, 1)
    return layer.unscaled(pruned)


SPARSEGPT = Method(sparsegpt)


def _prune(
    columns: _Columns, factor: NDArray[np.float32], parts: list[MaskBlock], nonzeros: int
) -> None:
    """Cut and update all columns in place; later blocks lag behind until their turn.

    The non-zeros are shared out evenly over the columns.
    """
    kept = begin = 0
    for block in _blocks(parts):
        end = begin + sum(len(part) for part, _ in block)
        errors = np.empty_like(columns[:, begin:end])
        first = begin
        for part, pattern in block:
            last = first + len(part)
            wanted = nonzeros * last // columns.shape[1] - kept
            mask = _mask(columns, factor, slice(first, last), pattern, wanted)
            kept += int(np.count_nonzero(mask))
            _cut(
                columns[:, first:end],
                factor[:, first:end, first:end],
                mask,
                errors[:, first - begin :],
            )
            first = last
        later = factor[:, begin:end, end:].transpose(0, 2, 1)
        columns[:, end:] -= np.matmul(later, errors)
        begin = end


def _blocks(parts: list[MaskBlock]) -> Iterator[list[MaskBlock]]:
    """Runs of parts of at least WIDTH columns, or what is left."""
    block: list[MaskBlock] = []
    for part in parts:
        block.append(part)
        if sum(len(columns) for columns, _ in block) >= WIDTH:
            yield block
            block = []
    if block:
        yield block


def _mask(
    columns: _Columns, factor: NDArray[np.float32], span: slice, pattern: Pattern, nonzeros: int
) -> NDArray[np.bool_]:
    """Which of the columns' entries stay, (groups, columns, m)."""
    pivots = factor[:, span, span].diagonal(axis1=1, axis2=2)
    scores = columns[:, span] / pivots[:, :, None]
    return pattern.mask(scores.transpose(0, 2, 1), nonzeros).transpose(0, 2, 1)


def _cut(
    columns: _Columns, factor: NDArray[np.float32], mask: NDArray[np.bool_], errors: _Columns
) -> None:
    """Zero what the mask leaves out, column by column, and move those behind it, in place."""
    for j in range(mask.shape[1]):
        error = np.where(mask[:, j], np.float32(0), columns[:, j]) / factor[:, j, j, None]
        columns[:, j] *= mask[:, j]
        columns[:, j + 1 :] -= factor[:, j, j + 1 :, None] * error[:, None, :]
        errors[:, j] = error
