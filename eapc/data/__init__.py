"""Calibration and evaluation inputs: files, folders and readers become one `Dataset`."""

from eapc.data.datasets import (
    CalibrationDataReader,
    Dataset,
    common_batch,
    dataset,
    from_reader,
    load_data,
)
from eapc.data.scaling import Affine

__all__ = [
    "Affine",
    "CalibrationDataReader",
    "Dataset",
    "common_batch",
    "dataset",
    "from_reader",
    "load_data",
]
