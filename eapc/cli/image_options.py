"""Options for what data files do not say themselves: the size of images, how inputs are scaled."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from eapc.errors import UsageError

if TYPE_CHECKING:
    from eapc.data import DataFiles, Preprocessing

_PANEL = "Images and scaling"


@dataclass(frozen=True)
class ImageOptions:
    """The group of all that hold for calibration inputs."""

    image_size: Annotated[
        str | None,
        Option(
            "--image-size",
            metavar="N|ROWSxCOLS",
            help="What is cut out of images; as the model's input unless given.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    resize: Annotated[
        int | None,
        Option(
            "--resize",
            min=1,
            metavar="N",
            help="Shortest edge before that; just enough for it unless given.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    scale: Annotated[
        str | None,
        Option(
            "--scale",
            metavar="1/255",
            help="The network sees (x * scale - mean) / std.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    mean: Annotated[
        str | None,
        Option(
            "--mean",
            metavar="M,M,M",
            help="One number, or one per channel.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    std: Annotated[
        str | None,
        Option(
            "--std",
            metavar="S,S,S",
            help="One number, or one per channel.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    preprocessor: Annotated[
        Path | None,
        Option(
            "--preprocessor",
            metavar="PATH",
            help="All that as a preprocessor_config.json says it.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def sources(
        self, calibration: Path | None, evaluation: Path | None = None
    ) -> tuple[DataFiles | None, DataFiles | None]:
        """Calibration and evaluation data with what the options say of each.

        Raises UsageError naming an option that holds for neither.
        """
        for_calibration = _taken(calibration, _SIZES | _SCALING)
        for_evaluation = _taken(evaluation, _SIZES | _SCALING | {"labels"})
        given = (f.name for f in fields(self) if getattr(self, f.name) is not None)
        for name in given:
            if name not in for_calibration | for_evaluation:
                option, data = f"--{name.replace('_', '-')}", _NEEDS.get(name, _IMAGES)
                raise UsageError(f"{option}: goes with {data}, and there is none")
        return (
            None if calibration is None else self._source(calibration, for_calibration),
            None if evaluation is None else self._source(evaluation, for_evaluation),
        )

    def _source(self, path: Path, taken: Collection[str]) -> DataFiles:
        """The data with those options that hold for it."""
        from eapc.data import DataFiles, Preprocessing, preprocessing_of, read_preprocessor

        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name in taken}
        labels, file = said.get("labels"), said.get("preprocessor")
        scaling: dict[str, Any] = {
            name: read_numbers(f"--{name}", said[name])
            for name in ("scale", "mean", "std")
            if said.get(name) is not None
        }
        if "image_size" not in taken:
            return DataFiles(path, Preprocessing(**scaling))
        found = preprocessing_of(path, None if file is None else read_preprocessor(file))
        return DataFiles(path, self._over(found, scaling), labels)

    def _over(self, found: Preprocessing, scaling: dict[str, Any]) -> Preprocessing:
        """What options say of images, over what is found in a file."""
        if scaling:
            found = replace(found, **scaling, origin="")
        if self.image_size is not None:
            found = replace(found, size=read_image_size(self.image_size), resize="cover")
        return found if self.resize is None else replace(found, resize=self.resize)


@dataclass(frozen=True)
class LabelledImageOptions(ImageOptions):
    """The group of those that hold for evaluation inputs, too."""

    labels: Annotated[
        Path | None,
        Option(
            "--labels",
            metavar="PATH",
            help="CSV file of file,label for images.",
            rich_help_panel=_PANEL,
        ),
    ] = None


_SIZES = frozenset({"image_size", "resize", "preprocessor"})
_SCALING = frozenset({"scale", "mean", "std"})

_IMAGES = "a folder of images"
_UNSCALED = "data that says no scaling itself"
_NEEDS = {**dict.fromkeys(_SCALING, _UNSCALED), "labels": "a folder of images to evaluate on"}


def _taken(path: Path | None, of_images: frozenset[str]) -> frozenset[str]:
    """The options that hold for data: `of_images` for images, scaling for arrays without it."""
    from eapc.data import is_image_folder, says_scaling

    if path is None:
        return frozenset()
    if is_image_folder(path):
        return of_images
    return frozenset() if says_scaling(path) else _SCALING


_SIZE = re.compile(r"([1-9]\d*)(?:x([1-9]\d*))?")


def read_image_size(text: str) -> tuple[int, int]:
    """(rows, columns) of `224` or `224x320`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--image-size: expected 224, or rows x columns as 224x320, got '{text}'")
    return int(match[1]), int(match[2] or match[1])


def read_numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of `0.485,0.456,0.406` or `1/255`."""
    try:
        values = tuple(_number(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        values = (math.nan,)
    if not all(map(math.isfinite, values)) or (option == "--std" and 0 in values):
        expected = "expected numbers such as 1/255 or 0.485,0.456,0.406"
        raise UsageError(f"{option}: {expected}{', not 0' * (option == '--std')}, got '{text}'")
    return values


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    return float(numerator) / float(denominator) if slash else float(text)
