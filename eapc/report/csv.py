"""Comma-separated values: an analysis, one row per node in file order, and files for them.

No report is written over an existing file unless told to.
"""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from eapc.energy import OPERANDS, EnergyReport
from eapc.errors import UsageError
from eapc.report.documents import ABSOLUTE, absolute, node_document

_PLAIN = (
    "key",
    "name",
    "op_type",
    "energy_mac_units",
    "energy_share",
    "macs",
    "nonskipped_macs",
    "operations",
    "weight_density",
    "ifmap_density",
    "ofmap_density",
    "weights_bits",
    "ifmap_bits",
    "ofmap_bits",
    "fused_into",
    "kept_on_chip",
)


Rows = tuple[Sequence[str], list[Mapping[str, object]]]
"""Columns in their order, and rows that have what is known of them."""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A heading and the rows' entries of these columns; what is unknown is empty."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: _known(row.get(column, "")) for column in columns})
    return stream.getvalue()


def _known(figure: object) -> object:
    """The figure; nothing of what is no number, or has no end."""
    return "" if isinstance(figure, float) and not math.isfinite(figure) else figure


def analysis_csv(report: EnergyReport) -> str:
    """A heading and the `analysis_rows`."""
    return csv_text(*analysis_rows(report))


def analysis_rows(report: EnergyReport) -> Rows:
    """One row per node; nodes without a model have a reason and no figures.

    Columns of the form `energy_LEVEL` and `accesses_LEVEL_OPERAND` follow the machine's
    memory levels; energies are in MAC units, accesses in words, all per inference.
    """
    levels = ("mac", *report.hardware.memories)
    accesses = [f"accesses_{level}_{part}" for level in levels[1:] for part in OPERANDS]
    operands = [f"energy_{part}" for part in ("compute", *OPERANDS)]
    columns = [
        *_PLAIN,
        *operands,
        *(f"energy_{level}" for level in levels),
        *accesses,
        *(ABSOLUTE if report.hardware.machine.cycles_of_mac_unit is not None else ()),
        "unmodelled",
    ]
    return columns, list(_rows(report))


def _rows(report: EnergyReport) -> Iterator[dict[str, object]]:
    total = report.energy_mac_units or 1.0
    for node in report.nodes:
        energies = {**node.by_operand, **node.by_level}
        yield {
            **node_document(node),
            **absolute(node, report),
            "energy_share": node.energy_mac_units / total,
            "kept_on_chip": " ".join(node.stay.operands),
            **{f"{operand}_bits": bits for operand, bits in asdict(node.bits).items()},
            **{f"energy_{name}": value for name, value in energies.items()},
            **{
                f"accesses_{level}_{operand}": words
                for level, by_operand in node.accesses.items()
                for operand, words in asdict(by_operand).items()
            },
        }
    for missing in report.unmodelled:
        yield {**asdict(missing), "unmodelled": missing.reason}


def require_writable(path: Path, force: bool, taken: Iterable[Path | None] = ()) -> None:
    """Raise UsageError if a report may not be written to `path`, or if it is one of `taken`."""
    if any(path.resolve() == other.resolve() for other in taken if other is not None):
        raise UsageError(f"{path}: is read or written already; choose another output")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give a file name")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder; make it first")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists; choose another output or add --force")


def write_report(path: Path, content: str | bytes) -> None:
    """Write a report whole or not at all; raises UsageError where the file system refuses."""
    data = content.encode() if isinstance(content, str) else content
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            written = Path(folder) / path.name
            written.write_bytes(data)
            written.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
