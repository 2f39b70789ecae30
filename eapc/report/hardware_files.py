"""Which hardware file a report goes by: its path and the digest of its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eapc.hardware import HardwareModel, HardwareSource, MeasuredMachine
from eapc.report.names import plain

_NO_FILE = "given as an object, not as a file"


def hardware_facts(
    hardware: HardwareModel | MeasuredMachine, measured: MeasuredMachine | None = None
) -> Iterator[tuple[str, str]]:
    """`hardware`: the file of the machine; that of latencies first where they are another's."""
    if measured is not None:
        yield "hardware", f"latencies: {_told(measured.source)}"
        yield "", f"energies: {_told(hardware.source)}"
    else:
        yield "hardware", _told(hardware.source)


def _told(source: HardwareSource | None) -> str:
    return _NO_FILE if source is None else plain(str(source))


def hardware_file(
    hardware: HardwareModel | MeasuredMachine, measured: MeasuredMachine | None = None
) -> dict[str, Any]:
    """`hardware_file`: path, whole digest and whether it is a shipped one; null without a file.

    `latency_file` is that of measured latencies, where a result has some beside its energies.
    """
    found = {"hardware_file": _document(hardware.source)}
    return found if measured is None else {**found, "latency_file": _document(measured.source)}


def _document(source: HardwareSource | None) -> dict[str, Any] | None:
    if source is None:
        return None
    return {"path": source.path, "sha256": source.digest, "shipped": source.is_shipped}
