"""eapc: an energy-aware pruning compiler for ONNX models.

    import eapc

    done = eapc.prune("model.onnx", eapc.Settings(calibration="data.npz"), output="out.onnx")
    print(done.energy_ratio)

Names are loaded when they are first used, so that importing eapc costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eapc.comparison import Comparison, compare
    from eapc.compiler import Analysis, Pruned, Ran, Settings, analyze, prune, run
    from eapc.data import CalibrationDataReader, Dataset, load_data
    from eapc.energy import DensityTable, EnergyReport, NodeEnergy
    from eapc.errors import (
        DataError,
        EapcError,
        GoalError,
        HardwareError,
        ModelError,
        PassError,
        UsageError,
        VerificationError,
    )
    from eapc.goal_sweep import SweepRow, Swept, sweep
    from eapc.goals import (
        Densities,
        Goal,
        MaxDrop,
        MinAgreement,
        Sparsity,
        TargetEnergy,
        TargetLatency,
    )
    from eapc.hardware import HardwareModel, MeasuredMachine, load_hardware, load_machine
    from eapc.machine_profile import Profiled, ProfileSettings, profile
    from eapc.model import Model
    from eapc.pipeline import Compilation, Pass, Pipeline
    from eapc.recipe import Recipe
    from eapc.timing import Timing, time_nodes

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "CalibrationDataReader",
    "Comparison",
    "Compilation",
    "DataError",
    "Dataset",
    "Densities",
    "DensityTable",
    "EapcError",
    "EnergyReport",
    "Goal",
    "GoalError",
    "HardwareError",
    "HardwareModel",
    "MaxDrop",
    "MeasuredMachine",
    "MinAgreement",
    "Model",
    "ModelError",
    "NodeEnergy",
    "Pass",
    "PassError",
    "Pipeline",
    "ProfileSettings",
    "Profiled",
    "Pruned",
    "Ran",
    "Recipe",
    "Settings",
    "Sparsity",
    "SweepRow",
    "Swept",
    "TargetEnergy",
    "TargetLatency",
    "Timing",
    "UsageError",
    "VerificationError",
    "__version__",
    "analyze",
    "compare",
    "load_data",
    "load_hardware",
    "load_machine",
    "profile",
    "prune",
    "run",
    "sweep",
    "time_nodes",
]

_HOMES = {
    "comparison": "Comparison compare",
    "compiler": "Analysis Pruned Ran Settings analyze prune run",
    "data": "CalibrationDataReader Dataset load_data",
    "energy": "DensityTable EnergyReport NodeEnergy",
    "errors": """DataError EapcError GoalError HardwareError ModelError PassError UsageError
        VerificationError""",
    "goal_sweep": "SweepRow Swept sweep",
    "goals": "Densities Goal MaxDrop MinAgreement Sparsity TargetEnergy TargetLatency",
    "hardware": "HardwareModel MeasuredMachine load_hardware load_machine",
    "machine_profile": "ProfileSettings Profiled profile",
    "model": "Model",
    "pipeline": "Compilation Pass Pipeline",
    "recipe": "Recipe",
    "timing": "Timing time_nodes",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load an exported name from its module (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
