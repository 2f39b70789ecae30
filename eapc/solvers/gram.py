"""Gram matrices of a layer's inputs, H (groups, k, k), and what the solvers ask of them.

With a few hundred calibration inputs a fully connected layer of many thousand inputs has far
fewer rows than unknowns. Its H is then R^T R + D of the n rows themselves and a diagonal, and
every product takes 2 n k multiplications a row instead of k^2: the dual form, by the identity
of Sherman, Morrison and Woodbury for inverses [1].

[1] Golub and Van Loan 2013, Matrix computations, 2.1.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eapc.solvers import blas

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class DenseGram:
    """A symmetric (k, k) matrix per group, all float32: the matrix itself."""

    matrix: Float32

    @property
    def work(self) -> int:
        """Floating-point operations that one entry of a product takes: a row of the matrix."""
        return 2 * int(self.matrix.shape[1])

    def dense(self) -> Float32:
        """(groups, k, k); not to be written to."""
        return self.matrix

    def diagonal(self) -> Float32:
        """(groups, k), a copy."""
        return np.array(np.einsum("gkk->gk", self.matrix))

    def times(self, weight: Float32, out: Float32 | None = None) -> Float32:
        """weight (groups, m, k) @ H; `out` may not be `weight`."""
        return np.asarray(np.matmul(weight, self.matrix, out=out))

    def corner(self, group: int, inputs: NDArray[np.intp]) -> Float32:
        """The (n, n) rows and columns of n inputs."""
        return np.asarray(self.matrix[group][np.ix_(inputs, inputs)])

    def columns(self, inputs: slice) -> Float32:
        """The (groups, n, k) columns of n inputs, each as a row; not to be written to."""
        return self.matrix[:, inputs]

    def scaled(self, factor: Float32) -> DenseGram:
        """f_i H_ij f_j, of factors (groups, k)."""
        return DenseGram(self.matrix * factor[:, None, :] * factor[:, :, None])

    def raised(self, amount: Float32) -> DenseGram:
        """H + diag(amount), (groups, k)."""
        matrix = self.matrix.copy()
        np.einsum("gkk->gk", matrix)[...] += amount
        return DenseGram(matrix)

    def inverse(self, shift: float) -> DenseGram:
        """(H + shift I)^-1. Raises numpy.linalg.LinAlgError unless that is positive."""
        return DenseGram(blas.inverses(self.matrix, shift))

    def positive(self) -> NDArray[np.bool_]:
        """Which groups' matrices have a Cholesky factor in float32."""
        return blas.positive_definite(self.matrix)


@dataclass(frozen=True)
class RowGram:
    """diag(ridge) + sign R^T R of n rows R: (groups, n, k) and (groups, k).

    Has the methods of `DenseGram`, with their meanings.
    """

    rows: Float32
    ridge: Float32
    sign: int = 1

    @property
    def work(self) -> int:
        """A row of R, back and forth."""
        return 4 * int(self.rows.shape[1])

    def dense(self) -> Float32:
        """(groups, k, k) of its own."""
        matrix: Float32 = np.matmul(self.rows.transpose(0, 2, 1), self.rows)
        matrix *= np.float32(self.sign)
        np.einsum("gkk->gk", matrix)[...] += self.ridge
        return matrix

    def diagonal(self) -> Float32:
        """Sums of squares, and the ridge."""
        squares: Float32 = np.einsum("gnk,gnk->gk", self.rows, self.rows)
        return self.ridge + np.float32(self.sign) * squares

    def times(self, weight: Float32, out: Float32 | None = None) -> Float32:
        """Two thin products."""
        thin = np.matmul(weight, self.rows.transpose(0, 2, 1))
        thin *= np.float32(self.sign)
        product: Float32 = np.matmul(thin, self.rows, out=out)
        product += weight * self.ridge[:, None, :]
        return product

    def corner(self, group: int, inputs: NDArray[np.intp]) -> Float32:
        """From the rows' columns."""
        rows, ridge = self.rows[group][None, :, inputs], self.ridge[group][None, inputs]
        return np.asarray(RowGram(rows, ridge, self.sign).dense()[0])

    def columns(self, inputs: slice) -> Float32:
        """A product of some of the rows' columns with all."""
        found: Float32 = np.matmul(self.rows[:, :, inputs].transpose(0, 2, 1), self.rows)
        found *= np.float32(self.sign)
        np.einsum("gnn->gn", found[:, :, inputs])[...] += self.ridge[:, inputs]
        return found

    def scaled(self, factor: Float32) -> RowGram:
        """Columns of the rows, and the ridge by squares."""
        return replace(self, rows=self.rows * factor[:, None, :], ridge=self.ridge * factor**2)

    def raised(self, amount: Float32) -> RowGram:
        """On the ridge."""
        return replace(self, ridge=self.ridge + amount)

    def inverse(self, shift: float) -> RowGram:
        """1/D - S^T S with S = L^-1 R / D, L L^T = I + R D^-1 R^T, D = diag(ridge) + shift I."""
        if self.sign < 0 or (self.ridge + np.float32(shift) <= 0).any():
            raise np.linalg.LinAlgError("matrix is not positive definite")
        reciprocal = np.float32(1) / (self.ridge + np.float32(shift))
        divided = self.rows * reciprocal[:, None, :]
        small = np.matmul(divided, self.rows.transpose(0, 2, 1))
        np.einsum("gnn->gn", small)[...] += 1
        factor = blas.inverse_factors(small)  # U^T U is the inverse
        return RowGram(np.matmul(factor, divided), reciprocal, -1)

    def positive(self) -> NDArray[np.bool_]:
        """Always, on a positive ridge."""
        return np.asarray((self.ridge > 0).all(axis=1))


Gram = DenseGram | RowGram
"""H in whichever form takes less work; the two know the same methods."""


def with_row(gram: Gram, row: NDArray[np.float64]) -> Gram:
    """The Gram matrix of one more row (groups, k)."""
    if isinstance(gram, RowGram):
        return replace(gram, rows=np.append(gram.rows, row[:, None].astype(np.float32), axis=1))
    return DenseGram((gram.dense() + row[:, :, None] * row[:, None, :]).astype(np.float32))
