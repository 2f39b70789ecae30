"""Calibration and evaluation inputs: files, folders and what is in memory become a `Dataset`."""

from eapc.data.arrays import common_batch, dataset
from eapc.data.datasets import Dataset, shortened
from eapc.data.feeds import (
    FORMS,
    CalibrationDataReader,
    InMemory,
    NamedArrays,
    Remembered,
    from_reader,
    gather,
    is_data,
    kind_of,
)
from eapc.data.files import (
    DataFiles,
    is_image_folder,
    load_data,
    load_without_model,
    preprocessing_of,
    says_scaling,
)
from eapc.data.image_folder import OpenAxes
from eapc.data.preprocessing import Preprocessing, read_preprocessor
from eapc.data.scaling import Affine

__all__ = [
    "FORMS",
    "Affine",
    "CalibrationDataReader",
    "DataFiles",
    "Dataset",
    "InMemory",
    "NamedArrays",
    "OpenAxes",
    "Preprocessing",
    "Remembered",
    "common_batch",
    "dataset",
    "from_reader",
    "gather",
    "is_data",
    "is_image_folder",
    "kind_of",
    "load_data",
    "load_without_model",
    "preprocessing_of",
    "read_preprocessor",
    "says_scaling",
    "shortened",
]
