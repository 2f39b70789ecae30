"""The machine's meter through zeus: a stand-in of it, and itself where it is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

import pytest

from eapc.errors import MeterError
from eapc.profiling import open_meter


class BaseRefusalError(Exception):
    """In the place of ZeusBaseError."""


class InitRefusalError(BaseRefusalError):
    """There are no such counters."""


class PermissionRefusalError(BaseRefusalError):
    """They may not be read."""


@dataclass
class Zone:
    """A processor as zeus has it: its counters in millijoules, one reading after the other."""

    name: str
    cpu_mj: list[float]
    dram_mj: float | None = None
    rapl_file: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        self.rapl_file = SimpleNamespace(name=self.name)

    def supports_get_dram_energy_consumption(self) -> bool:
        return self.dram_mj is not None

    def get_total_energy_consumption(self) -> SimpleNamespace:
        if not self.cpu_mj:
            raise OSError("no data available")
        return SimpleNamespace(cpu_mj=self.cpu_mj.pop(0), dram_mj=self.dram_mj)


class Jetson:
    """A board with the readings it is given, by their names in zeus."""

    def __init__(self, **readings: float | None) -> None:
        self.readings = SimpleNamespace(**readings)

    def get_total_energy_consumption(self) -> SimpleNamespace:
        return self.readings


StandIn = Callable[..., None]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """zeus with these zones and this board; an exception in their place is raised."""

    def install(zones: list[Zone] | Exception, board: object | None = None) -> None:
        def get_cpus() -> SimpleNamespace:
            if isinstance(zones, Exception):
                raise zones
            return SimpleNamespace(cpus=zones)

        def get_soc() -> object:
            if board is None:
                raise BaseRefusalError("no SoC")
            return board

        common: dict[str, object] = {
            "ZeusCPUInitError": InitRefusalError,
            "ZeusCPUNoPermissionError": PermissionRefusalError,
        }
        modules: dict[str, dict[str, object]] = {
            "zeus": {},
            "zeus.device": {},
            "zeus.device.cpu": {"get_cpus": get_cpus},
            "zeus.device.cpu.common": common,
            "zeus.device.soc": {"get_soc": get_soc},
            "zeus.exception": {"ZeusBaseError": BaseRefusalError},
        }
        for name, contents in modules.items():
            module = ModuleType(name)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, name, module)

    return install


def test_packages_and_their_memories_are_summed(stand_in: StandIn) -> None:
    """Three readings open the meter; (7000 + 100 + 8000 + 200) mJ are 15.3 J."""
    zones = [
        Zone("package-0", [0.0, 1.0, 2.0, 7000.0], 100.0),
        Zone("package-1", [5000.0, 5001.0, 5002.0, 8000.0], 200.0),
    ]
    stand_in(zones)
    meter = open_meter()
    assert meter.name == "RAPL (package-0, package-1 and DRAM)"
    assert meter.period_s == 0.001
    assert meter.read_j() == pytest.approx(15.3)


def test_what_counts_the_packages_once_more_is_left_out(stand_in: StandIn) -> None:
    stand_in([Zone("package-0", [0.0, 1.0, 2.0, 7000.0]), Zone("psys", [0.0, 1.0, 20_000.0])])
    meter = open_meter()
    assert meter.name == "RAPL (package-0)"
    assert meter.read_j() == 7


def test_dies_that_show_one_count_are_counted_once(stand_in: StandIn) -> None:
    """The second reads 20 mJ more, since it is read later; the third is another socket."""
    first = Zone("package-0-die-0", [0.0, 5000.0, 5100.0, 7000.0])
    second = Zone("package-0-die-1", [3000.0, 5020.0])
    stand_in([first, second, Zone("package-1-die-0", [8000.0, 9000.0, 9001.0, 9500.0])])
    meter = open_meter()
    assert meter.name == "RAPL (package-0-die-0, package-1-die-0)"
    assert meter.read_j() == 16.5


def test_a_counter_that_fails_meanwhile_is_told(stand_in: StandIn) -> None:
    stand_in([Zone("package-0", [0.0, 1.0, 2.0])])
    with pytest.raises(MeterError, match=r"RAPL \(package-0\) cannot be read: no data available"):
        open_meter().read_j()


def test_a_board_is_metered_where_no_processor_is(stand_in: StandIn) -> None:
    stand_in(InitRefusalError(), Jetson(total_energy_mj=5000.0, cpu_energy_mj=2000.0))
    meter = open_meter()
    assert (meter.name, meter.period_s) == ("Jetson (whole board)", 0.1)
    assert meter.read_j() == 5


def test_a_chip_is_metered_with_its_memory(stand_in: StandIn) -> None:
    stand_in([], Jetson(cpu_total_mj=5000.0, dram_mj=1500.0))
    meter = open_meter()
    assert meter.name == "Jetson (processor)"
    assert meter.read_j() == 6.5


def test_a_board_without_the_processor_is_no_meter(stand_in: StandIn) -> None:
    stand_in([], Jetson(total_energy_mj=None, gpu_energy_mj=1.0))
    with pytest.raises(MeterError, match="Jetson: counts no energy of the processor"):
        open_meter()


@pytest.mark.parametrize("zones", [InitRefusalError(), []])
def test_no_meter_is_told(stand_in: StandIn, zones: list[Zone] | Exception) -> None:
    stand_in(zones)
    with pytest.raises(MeterError, match=r"has no energy meter.*virtual machines.*--energy"):
        open_meter()


def test_no_permission_says_what_to_do(stand_in: StandIn) -> None:
    stand_in(PermissionRefusalError())
    with pytest.raises(MeterError, match=r"no permission.*sudo chmod a\+r .*/energy_uj"):
        open_meter()


@pytest.mark.parametrize("refusal", [BaseRefusalError, OSError])
def test_other_failures_keep_their_reason(stand_in: StandIn, refusal: type[Exception]) -> None:
    stand_in(refusal("a broken file"))
    with pytest.raises(MeterError, match="cannot be read: a broken file"):
        open_meter()


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus.device.cpu", None)
    with pytest.raises(MeterError, match=r'pip install "eapc\[energy\]"'):
        open_meter()


# --- zeus itself --------------------------------------------------------------------------------


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like Linux's, with one package and its memory, that zeus takes for it."""
    cpu = pytest.importorskip("zeus.device.cpu", reason="zeus comes with eapc[energy]")
    rapl = pytest.importorskip("zeus.device.cpu.rapl")
    soc = pytest.importorskip("zeus.device.soc")
    for path, name, count in (
        ("intel-rapl:0", "package-0", 262_143_000_000),
        ("intel-rapl:0/intel-rapl:0:0", "dram", 1_000_000),
        ("intel-rapl:1", "psys", 7_000_000),
    ):
        zone = tmp_path / path
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{count}\n")
        (zone / "max_energy_range_uj").write_text("262143328850\n")
    monkeypatch.setattr(rapl, "RAPL_DIR", str(tmp_path))
    monkeypatch.setattr(cpu, "_cpus", None)
    monkeypatch.setattr(soc, "_soc", None)
    rapl.rapl_is_available.cache_clear()
    yield tmp_path
    if cpu._cpus is not None:
        for package in cpu._cpus.cpus:
            for counted in filter(None, (package.rapl_file, package.dram)):
                tracker = counted._wraparound_tracker
                if tracker is not None:
                    tracker._stop()
    cpu._cpus = None
    rapl.rapl_is_available.cache_clear()


def counts(folder: Path, microjoules: int) -> None:
    """Let the package's counter show so many, at once as the kernel does."""
    other = folder / "next"
    other.write_text(f"{microjoules}\n")
    other.replace(folder / "intel-rapl:0" / "energy_uj")


def test_zeus_reads_the_folder(powercap: Path) -> None:
    meter = open_meter()
    assert meter.name == "RAPL (package-0 and DRAM)"
    assert meter.read_j() == pytest.approx(262_144)
    counts(powercap, 262_143_250_000)
    assert meter.read_j() == pytest.approx(262_144.25)


def test_zeus_adds_the_range_once_it_sees_a_counter_begin_anew(powercap: Path) -> None:
    """0.5 J behind the range of 262,143.32885 J, and 1 J of memory: 0.5 + 1 until it is seen."""
    meter = open_meter()
    time.sleep(6.0)  # zeus starts a process that watches the counter
    counts(powercap, 500_000)
    assert meter.read_j() in (pytest.approx(1.5), pytest.approx(262_144.82885))
    time.sleep(2.5)
    assert meter.read_j() == pytest.approx(262_144.82885)


def test_zeus_says_that_a_folder_may_not_be_read(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: str = "r") -> IO[Any]:
        if path.endswith("energy_uj"):
            raise PermissionError(path)
        return Path(path).open(mode)

    monkeypatch.setattr("zeus.device.cpu.rapl.open", refuse, raising=False)
    monkeypatch.setattr("zeus.device.cpu._cpus", None)
    with pytest.raises(MeterError, match="no permission"):
        open_meter()
    assert powercap.is_dir()


def test_zeus_finds_no_meter_in_an_empty_folder(powercap: Path) -> None:
    for zone in powercap.glob("intel-rapl:*"):
        zone.rename(powercap / f"old-{zone.name}")
    with pytest.raises(MeterError, match="has no energy meter"):
        open_meter()
