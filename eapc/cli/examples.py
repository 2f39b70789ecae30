"""An example or two of each command, as its help shows them; they run in eapc's own folder."""

from __future__ import annotations

_CALIB = "--calib models/digits_calibration.npz"
_EVAL = "--eval models/digits_eval.npz"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "analyze": (
        "analyze models/digits.onnx --by block",
        f"analyze models/digits.onnx --hw eyeriss {_CALIB} --top 10",
    ),
    "profile": ("profile models/digits.onnx -o host.yaml --minutes 1",),
    "prune": (
        "prune models/digits.onnx --target-energy 0.6 -o small.onnx",
        f"prune models/digits.onnx {_CALIB} {_EVAL} --max-drop 0.02",
    ),
    "finetune": (f"finetune small.onnx --teacher models/digits.onnx --data {_CALIB.split()[1]}",),
    "sweep": (f"sweep models/digits.onnx {_CALIB} --target-energy 0.8,0.6,0.4",),
    "dynamic": (f"dynamic models/digits.onnx --mild 0.7 {_CALIB} {_EVAL}",),
    "compare": (
        f"compare models/digits.onnx small.onnx {_EVAL}",
        "compare models/digits.onnx small.onnx --no-latency --by block",
    ),
    "run": ('run models/digits.onnx --pipeline "prune-weights{sparsity=0.8}" -o out.onnx',),
    "passes": ("passes",),
    "hw list": ("hw list",),
    "hw show": ("hw show eyeriss > mine.yaml",),
    "hw validate": ("hw validate mine.yaml",),
    "hw fit": ("hw fit board.csv --hw cortex-m4 -o mine.yaml",),
    "data show": (f"data show {_CALIB.split()[1]} --model models/digits.onnx",),
}
"""What is typed behind `eapc`, by command."""


def epilog(command: str) -> str:
    """What stands at the end of a command's help."""
    return "\n\n".join(("Examples:", *(f"`eapc {text}`" for text in EXAMPLES[command])))
