"""Calibration and evaluation inputs: files, folders and readers become one `Dataset`."""

from eapc.data.arrays import CalibrationDataReader, common_batch, dataset, from_reader
from eapc.data.datasets import Dataset, shortened
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
    "Affine",
    "CalibrationDataReader",
    "DataFiles",
    "Dataset",
    "OpenAxes",
    "Preprocessing",
    "common_batch",
    "dataset",
    "from_reader",
    "is_image_folder",
    "load_data",
    "load_without_model",
    "preprocessing_of",
    "read_preprocessor",
    "says_scaling",
    "shortened",
]
