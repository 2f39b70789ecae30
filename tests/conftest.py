"""What several test files share: options, the folder of shared data, machines."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from eapc.hardware import HardwareModel, load_hardware

PROJECT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="record the golden files anew instead of testing"
    )


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """True when golden files are to be written instead of compared."""
    return bool(request.config.getoption("--regenerate"))


@pytest.fixture
def undoing() -> Iterator[ExitStack]:
    """What a test has to undo in its end: `undoing.callback(METHODS.add(name, method))`."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """What the command line does to eapc's logging goes no further than the test."""
    logger = logging.getLogger("eapc")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with larger models and data sets (setting EAPC_DATA); skips where absent."""
    folder = Path(os.environ.get("EAPC_DATA", PROJECT.parent / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip(f"no models in {folder}; set EAPC_DATA to the folder of shared test data")
    return folder


@pytest.fixture(scope="session")
def digits() -> Path:
    """The shipped digits network."""
    return PROJECT / "models" / "digits.onnx"


@pytest.fixture(scope="session")
def eyeriss() -> HardwareModel:
    """The default machine."""
    return load_hardware("eyeriss")
