"""Meters of energy that machines have, through zeus: the only module that imports it.

What runs here runs on the processor, so meters of graphics cards are left out: they would add
what an idle card takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eapc.errors import MeterError

_POWERCAP_SECONDS = 0.001
"""Intel's Software Developer's Manual, volume 3, on RAPL: counters move about every millisecond."""

_SOC_SECONDS = 0.1
"""zeus asks a Jetson's sensors for their power ten times a second."""

_ALIKE_MJ = 1000.0
"""Some milliseconds of a busy package."""

_MISSING = (
    'energy is measured through zeus, which is missing: pip install "eapc[energy]"; it needs a '
    "machine with a meter (RAPL, Jetson, Apple silicon), as most virtual machines are not"
)
_NO_METER = (
    "this machine has no energy meter: no RAPL counters in /sys/class/powercap, no Jetson, no "
    "Apple silicon; most virtual machines hide them: leave out --energy, or run it on real hardware"
)
_NO_PERMISSION = (
    "no permission to read the processor's energy counters, which Linux keeps for root: "
    "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj lasts until the next boot"
)


@dataclass(frozen=True)
class Meter:
    """A counter of energy: `read_j` gives the joules since some moment, as a rule never fewer.

    It moves every `period_s` seconds or more seldom, which is found out. A meter of one's own is
    one of these. `clock` gives seconds, `sleep` waits so many.
    """

    name: str
    period_s: float
    read_j: Callable[[], float]
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep


def open_meter() -> Meter:
    """This machine's meter: of its processor packages and their memory, else of its SoC.

    Raises MeterError where there is none, none may be read, or zeus is not installed.
    """
    try:
        from zeus.device.cpu import get_cpus
        from zeus.device.cpu.common import ZeusCPUInitError, ZeusCPUNoPermissionError
        from zeus.device.soc import get_soc
        from zeus.exception import ZeusBaseError
    except ImportError as error:
        raise MeterError(_MISSING) from error
    try:
        packages = _apart([cpu for cpu in get_cpus().cpus if _zone(cpu).startswith("package")])
    except ZeusCPUNoPermissionError as error:
        raise MeterError(_NO_PERMISSION) from error
    except ZeusCPUInitError:
        packages = []
    except (ZeusBaseError, OSError) as error:
        raise MeterError(f"the processor's energy counters cannot be read: {error}") from error
    if packages:
        return _of_packages(packages, ZeusBaseError)
    try:
        return _of_soc(get_soc(), ZeusBaseError)
    except ZeusBaseError as error:
        raise MeterError(_NO_METER) from error


def _zone(cpu: Any) -> str:
    """What a powercap zone counts: `package-0`, or `psys`, which has the packages in it too."""
    return str(getattr(getattr(cpu, "rapl_file", None), "name", "package"))


def _apart(packages: Sequence[Any]) -> list[Any]:
    """Packages whose counters differ: dies of one socket may each show all that it takes.

    Counters run from the start of the computer on and come to 262 kJ, so that two which count
    different things are rarely as close as what is counted between two readings.
    """
    known: dict[float, Any] = {}
    for cpu in packages:
        cpu.get_total_energy_consumption()  # the first reading starts a process and takes long
    for cpu in packages:
        count = cpu.get_total_energy_consumption().cpu_mj
        if all(abs(count - other) > _ALIKE_MJ for other in known):
            known[count] = cpu
    return list(known.values())


def _of_packages(packages: Sequence[Any], refusal: type[Exception]) -> Meter:
    """All processor packages and, where it is counted, the memory at each."""
    memory = any(cpu.supports_get_dram_energy_consumption() for cpu in packages)
    zones = ", ".join(_zone(cpu) for cpu in packages)

    def read_mj() -> float:
        counted = [cpu.get_total_energy_consumption() for cpu in packages]
        return float(sum(each.cpu_mj + (each.dram_mj or 0.0) for each in counted))

    name = f"RAPL ({zones}{' and DRAM' if memory else ''})"
    return _checked(name, _POWERCAP_SECONDS, read_mj, refusal)


def _of_soc(soc: Any, refusal: type[Exception]) -> Meter:
    """A whole board where its sensors tell, else processor and memory."""
    found = soc.get_total_energy_consumption()
    names = ("total_energy_mj", "cpu_total_mj", "cpu_energy_mj")
    main = next((name for name in names if getattr(found, name, None) is not None), None)
    if main is None:
        raise MeterError(f"{type(soc).__name__}: counts no energy of the processor")

    def read_mj() -> float:
        counted = soc.get_total_energy_consumption()
        return float(getattr(counted, main) + (getattr(counted, "dram_mj", None) or 0.0))

    part = "whole board" if main == "total_energy_mj" else "processor"
    return _checked(f"{type(soc).__name__} ({part})", _SOC_SECONDS, read_mj, refusal)


def _checked(
    name: str, period_s: float, read_mj: Callable[[], float], refusal: type[Exception]
) -> Meter:
    """A meter in joules whose failures are eapc's errors."""

    def read_j() -> float:
        try:
            return read_mj() / 1e3
        except (refusal, OSError, ValueError) as error:
            raise MeterError(f"{name} cannot be read: {error}") from error

    read_j()
    return Meter(name, period_s, read_j)
