"""Latency: layers timed on this machine, and networks read off a profile."""

from eapc.profiling.kernels import constant_tensors, find_kernels, notes_on_weights
from eapc.profiling.latency import NetworkLatency, prepare_network
from eapc.profiling.layer_kinds import LayerKind, layer_kind
from eapc.profiling.layer_sizes import sized
from eapc.profiling.layer_timer import LayerTimer, NetworkTimer, Reading
from eapc.profiling.probe_models import Probe, ProbeMaker
from eapc.profiling.profiler import Profiler
from eapc.profiling.stopwatch import Laps, Ratio, run_in_turns

__all__ = [
    "Laps",
    "LayerKind",
    "LayerTimer",
    "NetworkLatency",
    "NetworkTimer",
    "Probe",
    "ProbeMaker",
    "Profiler",
    "Ratio",
    "Reading",
    "constant_tensors",
    "find_kernels",
    "layer_kind",
    "notes_on_weights",
    "prepare_network",
    "run_in_turns",
    "sized",
]
