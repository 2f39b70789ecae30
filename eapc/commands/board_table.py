"""The table of a board: networks that were measured on it, and what each took."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eapc.commands.kernel_fit import KernelCounts, counts_of
from eapc.errors import DataError
from eapc.hardware import HardwareModel
from eapc.model import Model

_LEAST, _MOST = 1e-6, 1e9
"""Milliseconds and microjoules of an inference that can be meant: a ns or pJ, days or a kJ."""


@dataclass(frozen=True)
class MeasuredNetwork:
    """A row of the table: a network, what it took, and its errors, None where not measured.

    `off` is modelled over measured less 1, `left_out` the same when fitted to the others alone.
    """

    file: Path
    counts: KernelCounts
    ms: float | None
    microjoules: float | None
    off: float = 0.0
    left_out: float | None = None

    @property
    def network(self) -> str:
        """The file's name."""
        return self.file.name

    @property
    def fitted_to(self) -> float:
        """The milliseconds, or without them the microjoules."""
        return (self.microjoules if self.ms is None else self.ms) or 0.0


def read_table(path: Path, hardware: HardwareModel) -> list[MeasuredNetwork]:
    """The networks of a table with what they took; DataError where something is amiss."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            lines = [(reader.line_num, line) for line in reader]
            columns = [column.strip() for column in reader.fieldnames or ()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path}: is no text in columns; give a CSV file") from None
    given = [column for column in ("ms", "microjoules") if column in columns]
    if "network" not in columns or not given:
        raise DataError(f"{path}: has no columns `network` and `ms` or `microjoules`; add them")
    if not lines:
        raise DataError(f"{path}: has no rows; give one for each measured network")
    _require_each_once(path, lines)
    networks = [_network(path, number, line, given, hardware) for number, line in lines]
    _require_one_column(path, networks)
    return networks


def _require_each_once(path: Path, lines: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Raise DataError where a row names none, or one again: left out, it would be fitted to."""
    first: dict[Path, int] = {}
    for number, line in lines:
        file = _file(path, line)
        if file == path.parent:
            problem = "network: is empty; give a path or remove the row"
            raise DataError(f"{path}:{number}: {problem}")
        if file.resolve() in first:
            problem = f"{file.name} stands in line {first[file.resolve()]} already"
            raise DataError(f"{path}:{number}: network: {problem}; give each network once")
        first[file.resolve()] = number


def _file(path: Path, line: dict[str, str]) -> Path:
    cells = {(key or "").strip(): value for key, value in line.items()}
    return path.parent / (cells.get("network") or "").strip()


def _require_one_column(path: Path, networks: Sequence[MeasuredNetwork]) -> None:
    """Raise DataError unless all networks have ms, or none has and all have microjoules."""
    timed = sum(network.ms is not None for network in networks)
    if timed not in (0, len(networks)):
        lacking = next(network.network for network in networks if network.ms is None)
        raise DataError(f"{path}: {lacking} has no ms and others do; give it for all or for none")
    if not timed and any(network.microjoules is None for network in networks):
        raise DataError(f"{path}: a network has neither ms nor microjoules; remove its row")


def _network(
    path: Path, number: int, line: dict[str, str], given: Sequence[str], hardware: HardwareModel
) -> MeasuredNetwork:
    cells = {(key or "").strip(): value for key, value in line.items()}
    file = _file(path, line)
    if not file.is_file():
        raise DataError(f"{path}:{number}: network: no file {file}; paths are from the table's")
    amounts = {column: _amount(path, number, column, cells.get(column)) for column in given}
    counts = counts_of(Model.load(file), hardware)
    if not any(counts):
        raise DataError(f"{path}:{number}: nothing of {file.name} can be priced; remove the row")
    return MeasuredNetwork(file, counts, amounts.get("ms"), amounts.get("microjoules"))


def _amount(path: Path, number: int, column: str, text: str | None) -> float | None:
    """A cell's number; None where it is empty."""
    if not (text or "").strip():
        return None
    try:
        amount = float(text or "")
    except ValueError:
        amount = 0.0
    if not _LEAST <= amount <= _MOST:
        positive = 0 < amount < math.inf
        wanted = f"number from {_LEAST:g} to {_MOST:g}" if positive else "positive number"
        said = f"expected a {wanted}, got '{text}'"
        raise DataError(f"{path}:{number}: {column}: {said}; correct it or leave it empty")
    return amount
