"""eapc: an energy-aware pruning compiler for ONNX models.

    import eapc

    done = eapc.prune("model.onnx", calibration="data.npz", target_energy=0.7, output="out.onnx")
    print(done.energy_ratio)

Names are loaded when they are first used, so that importing eapc costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eapc.api.functions import (
        analyze,
        compare,
        compare_all,
        dynamic,
        finetune,
        profile,
        prune,
        run,
        sweep,
        time_nodes,
    )
    from eapc.commands.comparison import Comparison
    from eapc.commands.compiler import Analysis, Ran
    from eapc.commands.data_description import DataDescription, describe_data
    from eapc.commands.finetuning import FineTuned
    from eapc.commands.machine_profile import Profiled, ProfileSettings
    from eapc.commands.preparation import Settings
    from eapc.commands.sweep import SweepRow, Swept
    from eapc.commands.timing import Timing
    from eapc.data import CalibrationDataReader, DataFiles, Dataset, Preprocessing, load_data
    from eapc.energy import DensityTable, EnergyReport, NodeEnergy
    from eapc.errors import (
        ArgumentError,
        DataError,
        EapcError,
        GoalError,
        HardwareError,
        MeterError,
        MissingLibraryError,
        ModelError,
        PassError,
        UsageError,
        VerificationError,
    )
    from eapc.goals import (
        Densities,
        Goal,
        Joint,
        MaxDrop,
        MinAgreement,
        Pruned,
        Sparsity,
        TargetEnergy,
        TargetLatency,
        TargetMacs,
        TargetSize,
        TargetWeights,
        Trial,
    )
    from eapc.hardware import HardwareModel, MeasuredMachine, load_hardware, load_machine
    from eapc.model import Model
    from eapc.pipeline import Compilation, Pass, Pipeline, Recipe
    from eapc.profiling import Meter, open_meter
    from eapc.routing import DynamicNetwork

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "ArgumentError",
    "CalibrationDataReader",
    "Comparison",
    "Compilation",
    "DataDescription",
    "DataError",
    "DataFiles",
    "Dataset",
    "Densities",
    "DensityTable",
    "DynamicNetwork",
    "EapcError",
    "EnergyReport",
    "FineTuned",
    "Goal",
    "GoalError",
    "HardwareError",
    "HardwareModel",
    "Joint",
    "MaxDrop",
    "MeasuredMachine",
    "Meter",
    "MeterError",
    "MinAgreement",
    "MissingLibraryError",
    "Model",
    "ModelError",
    "NodeEnergy",
    "Pass",
    "PassError",
    "Pipeline",
    "Preprocessing",
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
    "TargetMacs",
    "TargetSize",
    "TargetWeights",
    "Timing",
    "Trial",
    "UsageError",
    "VerificationError",
    "__version__",
    "analyze",
    "compare",
    "compare_all",
    "describe_data",
    "dynamic",
    "finetune",
    "load_data",
    "load_hardware",
    "load_machine",
    "open_meter",
    "profile",
    "prune",
    "run",
    "sweep",
    "time_nodes",
]

_HOMES = {
    "api.functions": """analyze compare compare_all dynamic finetune profile prune run sweep
        time_nodes""",
    "commands.comparison": "Comparison",
    "commands.compiler": "Analysis Ran",
    "commands.data_description": "DataDescription describe_data",
    "commands.finetuning": "FineTuned",
    "commands.machine_profile": "ProfileSettings Profiled",
    "commands.preparation": "Settings",
    "commands.sweep": "SweepRow Swept",
    "commands.timing": "Timing",
    "data": "CalibrationDataReader DataFiles Dataset Preprocessing load_data",
    "energy": "DensityTable EnergyReport NodeEnergy",
    "errors": """ArgumentError DataError EapcError GoalError HardwareError MeterError
        MissingLibraryError ModelError PassError UsageError VerificationError""",
    "goals": """Densities Goal Joint MaxDrop MinAgreement Pruned Sparsity TargetEnergy
        TargetLatency TargetMacs TargetSize TargetWeights Trial""",
    "hardware": "HardwareModel MeasuredMachine load_hardware load_machine",
    "model": "Model",
    "pipeline": "Compilation Pass Pipeline Recipe",
    "profiling": "Meter open_meter",
    "routing": "DynamicNetwork",
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
    return sorted(__all__)
