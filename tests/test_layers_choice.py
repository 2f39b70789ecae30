"""Which layers are pruned: names and globs, patterns that do not suit, densities by file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pruning_builders import branches, residual, tied

from eapc.errors import UsageError
from eapc.layers import (
    EXCLUDED,
    PrunableLayers,
    choose,
    find_layers,
    given_densities,
    pattern_of,
    read_layer_densities,
    suited,
)
from eapc.solvers.patterns import NOfM


def names(found: PrunableLayers) -> list[str]:
    return [tied.first.node.key for tied in found.layers]


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        ((), (), ["stem", "conv1", "conv2", "fc"]),
        (("conv*",), (), ["conv1", "conv2"]),
        ((), ("Gemm",), ["stem", "conv1", "conv2"]),
        (("Conv",), ("w2", "stem"), ["conv1"]),
        (("conv1", "fc"), (), ["conv1", "fc"]),
    ],
)
def test_layers_are_chosen(
    include: tuple[str, ...], exclude: tuple[str, ...], left: list[str]
) -> None:
    found = find_layers(residual().model)
    chosen = choose(found, include, exclude)
    assert names(chosen) == left
    assert {skip.name for skip in chosen.skipped} == set(names(found)) - set(left)
    assert {skip.reason for skip in chosen.skipped} <= {EXCLUDED}


def test_tied_layers_go_together() -> None:
    chosen = choose(find_layers(tied().model), (), ("second",))
    assert names(chosen) == ["last"]
    assert {skip.name for skip in chosen.skipped} == {"first", "second", "third"}


def test_a_name_without_a_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="exclude: 'conv3' means no prunable layer; near it: conv"):
        choose(find_layers(residual().model), (), ("conv3",))


def test_kernel_positions_are_the_operators() -> None:
    layers = find_layers(branches().model).layers
    patterns = {each.first.node.key: pattern_of(each, "2:4") for each in layers}
    expected = {"one": 9, "two": 1, "grouped": 9, "depthwise": 9, "up": 4, "fc": 1}
    assert patterns == {name: NOfM(2, 4, positions) for name, positions in expected.items()}


def test_layers_that_a_pattern_does_not_suit_are_said() -> None:
    model = branches().model
    found = suited(find_layers(model), model, "2:4")
    assert names(found) == ["grouped", "up", "fc"]
    reasons = {skip.name: skip.reason for skip in found.skipped}
    assert reasons["one"] == "2:4: 3 input channels, fewer than 4"
    assert reasons["depthwise"] == "2:4: 1 input channels, fewer than 4"


def test_channels_left_over_are_said() -> None:
    model = residual().model
    found = suited(find_layers(model), model, "1:3")
    assert names(found) == ["stem", "conv1", "conv2", "fc"]
    reasons = {skip.name: skip.reason for skip in found.skipped}
    assert reasons == dict.fromkeys(
        ("conv1", "conv2", "fc"), "1:3: 2 of 8 input channels stay dense"
    )


def test_blocks_larger_than_a_layer_are_said() -> None:
    model = residual().model
    found = suited(find_layers(model), model, "block:8x8")
    assert names(found) == ["conv1", "conv2"]
    reasons = {skip.name: skip.reason for skip in found.skipped}
    assert reasons["stem"] == "block:8x8: 8 x 3 channels, less than a block of 8 x 8"
    assert reasons["fc"] == "block:8x8: 5 x 8 channels, less than a block of 8 x 8"


# --- densities -------------------------------------------------------------------------------


def densities(folder: Path, text: str) -> dict[str, float]:
    path = folder / "d.yaml"
    path.write_text(text)
    return given_densities(find_layers(residual().model), read_layer_densities(path), path)


def test_densities_go_by_name_then_by_the_later_glob(tmp_path: Path) -> None:
    found = densities(tmp_path, "conv1: 0.25\nw*: 0.5\nconv*: 0.75\nGemm: 1\n")
    assert found == {"w0": 0.5, "w1": 0.25, "w2": 0.75, "fw": 1.0}


def test_a_density_for_a_layer_left_alone_is_refused_with_the_reason() -> None:
    chosen = choose(find_layers(residual().model), (), ("conv1",))
    with pytest.raises(UsageError, match="d: 'conv1' means 'conv1', which is left alone: excluded"):
        given_densities(chosen, {"conv1": 0.5}, Path("d"))


def test_layers_without_a_density_stay_dense(tmp_path: Path) -> None:
    assert densities(tmp_path, "w1: 0.5") == {"w0": 1.0, "w1": 0.5, "w2": 1.0, "fw": 1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conv9: 0.5", r"d\.yaml: 'conv9' means no prunable layer; near it: conv"),
        ("conv1: 0", r"d\.yaml: conv1: expected a density in \(0, 1\], got 0"),
        ("conv1: 1.5", r"d\.yaml: conv1: .* got 1\.5"),
        ("conv1: true", r"d\.yaml: conv1: .* got True"),
        ("conv1: .nan", r"d\.yaml: conv1: .* got nan"),
        ("conv1: much", r"d\.yaml: conv1: .* got 'much'"),
        ("[1, 2]", r"d\.yaml: expected a mapping"),
        ("", r"d\.yaml: expected a mapping"),
        ("{", r"d\.yaml: not a YAML file"),
    ],
)
def test_bad_densities(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        densities(tmp_path, text)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.yaml: cannot be read"):
        read_layer_densities(tmp_path / "no.yaml")
