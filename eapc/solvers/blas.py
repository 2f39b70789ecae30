"""Linear algebra whose bytes do not depend on the number of threads.

numpy and scipy each bundle an OpenBLAS whose Cholesky rounds differently for every thread
count, and so do its float32 products with the kernels of some processors (OpenBLAS 0.3.31, AVX2
without AVX-512): whatever a layer's weights come from runs on one thread.
`scipy.linalg.lapack` is used because it factorises in place, several times faster than
`numpy.linalg` does.
"""

from __future__ import annotations

import functools
import threading
from contextlib import ContextDecorator, ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256
"""Rows mirrored at once: a block of float32 columns that stays in a 2 MB cache."""


class _SingleThread(ContextDecorator):
    """Counts its users, so that overlapping ones neither raise nor lose the limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limit.enter_context(_controller().limit(limits=1, user_api="blas"))
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.close()


@functools.cache
def _controller() -> Any:
    """The BLAS libraries of this process; finding them takes milliseconds, so once."""
    import scipy.linalg.lapack  # noqa: F401  scipy's own library must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_SINGLE_THREAD = _SingleThread()


def single_thread() -> _SingleThread:
    """Hold every BLAS library of the process to one thread; safe from several threads."""
    return _SINGLE_THREAD


def positive_definite(matrices: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the symmetric (groups, k, k) matrices a float32 Cholesky can factorise."""
    from scipy.linalg.lapack import spotrf

    with single_thread():
        failed = [spotrf(matrix.T, lower=1, clean=0)[1] for matrix in matrices]
    return np.array([code == 0 for code in failed], dtype=bool)


def inverses(
    matrices: NDArray[np.float32], shift: float = 0.0, dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """(A + shift I)^-1 of each symmetric positive A of (groups, k, k), in the type given.

    Raises numpy.linalg.LinAlgError if a matrix is not positive definite.
    """
    work = np.array(matrices, dtype=dtype, order="C")
    np.einsum("gkk->gk", work)[...] += dtype(shift)
    _factorise(work, "potri")
    _mirror_upper(work)
    return work


def inverse_factors(matrices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Upper triangular U with A^-1 = U^T U for each symmetric positive A of (groups, k, k).

    Raises numpy.linalg.LinAlgError if a matrix is not positive definite.
    """
    # With A's rows and columns in reverse, J A J = L L^T, the factor is U = J L^-1 J.
    work = np.array(matrices[:, ::-1, ::-1], dtype=np.float32, order="C")
    _factorise(work, "trtri", clean=True)
    return np.ascontiguousarray(work.transpose(0, 2, 1)[:, ::-1, ::-1])


def _factorise(matrices: NDArray[Any], then: str, clean: bool = False) -> None:
    """Each matrix becomes its Cholesky factor and that what LAPACK's `then` makes of it.

    In the upper triangles; the lower ones are left as they are, or zeroed if `clean`.
    """
    from scipy.linalg import get_lapack_funcs

    potrf, finish = get_lapack_funcs(("potrf", then), (matrices,))
    with single_thread():
        for matrix in matrices:
            # LAPACK counts columns first: its lower triangle is the upper one of our rows.
            _, failed = potrf(matrix.T, lower=1, clean=clean, overwrite_a=1)
            if failed:
                raise np.linalg.LinAlgError("matrix is not positive definite")
            finish(matrix.T, lower=1, overwrite_c=1)


def solve(matrix: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows v of (n, k) with v A = targets for a positive (k, k) A; float64 inside.

    Raises numpy.linalg.LinAlgError if the matrix is not positive definite.
    """
    from scipy.linalg.lapack import dposv

    with single_thread():
        _, solution, failed = dposv(matrix, targets.T, lower=1)
    if failed:
        raise np.linalg.LinAlgError("matrix is not positive definite")
    return np.asarray(solution.T, dtype=np.float32)


def _mirror_upper(matrices: NDArray[Any]) -> None:
    """Copy the upper triangles of (groups, k, k) onto the lower ones, in place."""
    k = matrices.shape[1]
    for begin in range(0, k, _BLOCK):
        end = min(begin + _BLOCK, k)
        corner = matrices[:, begin:end, begin:end]
        corner[...] = np.triu(corner) + np.triu(corner, 1).transpose(0, 2, 1)
        matrices[:, end:, begin:end] = matrices[:, begin:end, end:].transpose(0, 2, 1)
