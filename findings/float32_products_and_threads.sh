#!/usr/bin/env bash
# A float32 matrix product has other bits on one BLAS thread than on two.
#
# Versions: numpy 2.4.6 (its wheel bundles OpenBLAS 0.3.31), threadpoolctl 3.6.0.
# Guess: threads share out the rows and columns of a product, and each element is still one sum over
#   k in one order; so the number of threads changes Cholesky factors (whose panels depend on it),
#   but no product.
# Behaviour: with the kernels for AVX2 processors (OPENBLAS_CORETYPE=Haswell, which newer processors
#   run too) 64x300 @ 300x300 differs in float32 in about the last two digits; 64x64 @ 64x64, too
#   small to be shared out, does not. In float64 64x600 @ 600x300 does not differ, 64x300 @ 300x300 does.
# Ends with 1 if that changes, and with 0 and a reason on processors that cannot run these kernels.
set -euo pipefail
if ! grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
    echo "skipped: needs an x86-64 processor with AVX2"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 threadpoolctl==3.6.0
OPENBLAS_CORETYPE=Haswell "$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

rng = np.random.default_rng(0)


def differs(m, k, n, kind):
    a, b = rng.standard_normal((m, k)).astype(kind), rng.standard_normal((k, n)).astype(kind)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(a @ b)
    return bool((found[0] != found[1]).any())


(blas,) = (each for each in threadpool_info() if each["user_api"] == "blas")
print("numpy", np.__version__, "OpenBLAS", blas["version"], "kernels", blas["architecture"])
seen = {
    "float32 64x300x300": differs(64, 300, 300, np.float32),
    "float32 64x64x64": differs(64, 64, 64, np.float32),
    "float64 64x300x300": differs(64, 300, 300, np.float64),
    "float64 64x600x300": differs(64, 600, 300, np.float64),
}
for name, other in seen.items():
    print(f"{name}: {'other' if other else 'the same'} bits on two threads")
expected = [True, False, True, False]
sys.exit(0 if list(seen.values()) == expected else 1)
PY
# Seen:
#   numpy 2.4.6 OpenBLAS 0.3.31.188.0 kernels Haswell
#   float32 64x300x300: other bits on two threads
#   float32 64x64x64: the same bits on two threads
#   float64 64x300x300: other bits on two threads
#   float64 64x600x300: the same bits on two threads
