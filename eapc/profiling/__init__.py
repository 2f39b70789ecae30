"""Latency: layers timed on this machine, and networks read off a profile; joules by a meter."""

from eapc.profiling.integer_use import NO_INTEGERS, IntegerUse, integer_use
from eapc.profiling.joules import MeterLog, meter_in_turns
from eapc.profiling.kernels import constant_tensors, find_kernels, notes_on_weights, running_graph
from eapc.profiling.latency import NetworkLatency, prepare_network
from eapc.profiling.layer_kinds import LayerKind, layer_kind, sized
from eapc.profiling.layer_timer import Laps, LayerTimer, NetworkTimer, Ratio, Reading, run_in_turns
from eapc.profiling.meters import Meter, open_meter
from eapc.profiling.probe_models import ProbeMaker
from eapc.profiling.probe_neighbours import Probe
from eapc.profiling.profiler import Profiler

__all__ = [
    "NO_INTEGERS",
    "IntegerUse",
    "Laps",
    "LayerKind",
    "LayerTimer",
    "Meter",
    "MeterLog",
    "NetworkLatency",
    "NetworkTimer",
    "Probe",
    "ProbeMaker",
    "Profiler",
    "Ratio",
    "Reading",
    "constant_tensors",
    "find_kernels",
    "integer_use",
    "layer_kind",
    "meter_in_turns",
    "notes_on_weights",
    "open_meter",
    "prepare_network",
    "run_in_turns",
    "running_graph",
    "sized",
]
