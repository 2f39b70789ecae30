"""Labels of images in a folder: a CSV file, or a subfolder for each class."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from eapc.errors import DataError
from eapc.model import Array

logger = logging.getLogger(__name__)

LABELS_FILE = "labels.csv"

_LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Labelling:
    """`labels` (n,) int64, or None and why; `classes` names them where subfolders do."""

    labels: Array | None
    classes: tuple[str, ...] = ()
    reason: str = ""


def label_files(
    folder: Path, files: Sequence[Path], subfolders: Sequence[str], given: Path | None
) -> Labelling:
    """Labels of files by the CSV file given, else `labels.csv` of their folder, else subfolders.

    A missing or malformed file is a reason for having none: calibration does not need any.
    """
    names = [file.relative_to(folder).as_posix() for file in files]
    path = given or folder / LABELS_FILE
    if given is None and not path.is_file():
        return _by_subfolder(folder, names, subfolders)
    try:
        return Labelling(_listed(path, names, _read(path)))
    except DataError as error:
        return Labelling(None, reason=str(error))


def _by_subfolder(folder: Path, names: Sequence[str], subfolders: Sequence[str]) -> Labelling:
    """Classes are subfolders in order of their names as text, as torchvision's ImageFolder has it.

    Whatever would shift the numbers without a word is a reason for having none.
    """
    remedy = f"give --labels FILE or put {LABELS_FILE} there"
    classes = sorted(subfolders)
    outside = next((name for name in names if "/" not in name), None)
    if len(classes) < 2 or outside is not None:
        what = f"{outside} is in no subfolder" if classes else "no subfolders tell classes"
        if len(classes) == 1 and outside is None:
            what = f"all images are in one subfolder, {classes[0]}"
        return Labelling(None, reason=f"{folder}: {what}; {remedy}")
    firsts = [name.partition("/")[0] for name in names]
    if empty := sorted(set(classes) - set(firsts)):
        what = f"subfolder {empty[0]} holds no images, and classes are counted by subfolders"
        return Labelling(None, reason=f"{folder}: {what}; {remedy}")
    _warn_of_numbers(folder, classes)
    numbers = {name: number for number, name in enumerate(classes)}
    return Labelling(np.asarray([numbers[name] for name in firsts], np.int64), tuple(classes))


def _warn_of_numbers(folder: Path, classes: Sequence[str]) -> None:
    """Say so where subfolders are numbers whose order as text is another one."""
    if not all(name.isdecimal() for name in classes):
        return
    off = next((n for n, name in enumerate(classes) if n and int(name) < int(classes[n - 1])), None)
    if off is not None:
        logger.warning(
            f"{folder}: classes are counted by subfolder names as text, {classes[off - 1]} before "
            f"{classes[off]}; give --labels FILE where the names are the classes' numbers"
        )


def _read(path: Path) -> Mapping[str, int]:
    """Class numbers by file name; DataError naming the line that is malformed."""
    found: dict[str, int] = {}
    for line, row in _rows(path):
        where = f"{path}: line {line}"
        if len(row) != 2:
            raise DataError(f"{where}: expected file,label, got {','.join(row)}")
        name, label = PurePosixPath(row[0].strip().replace("\\", "/")).as_posix(), row[1].strip()
        if not (label.isdecimal() and int(label) <= _LARGEST):
            raise DataError(f"{where}: expected a class number counted from 0, got '{label}'")
        if name in found:
            raise DataError(f"{where}: {name} is listed twice")
        found[name] = int(label)
    return found


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line numbers, but for empty ones and a first one of column names."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for place, row in enumerate(filter(None, reader)):
                if place or not any(map(str.isalpha, row[1:2] and row[1])):
                    yield reader.line_num, row
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error


def _listed(path: Path, names: Sequence[str], found: Mapping[str, int]) -> Array:
    """The labels in the order of the files; all that are listed are there, and all are listed."""
    if absent := sorted(found.keys() - set(names)):
        raise DataError(f"{path}: lists {absent[0]}, which is no JPEG or PNG file of the folder")
    if unlisted := [name for name in names if name not in found]:
        raise DataError(f"{path}: has no label for {unlisted[0]}")
    return np.asarray([found[name] for name in names], np.int64)
