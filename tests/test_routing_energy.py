"""What dynamic networks are expected to take: all of the first, a share of the second."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import loaded, op
from routing_builders import convolutional, exact, images, lead, linear, two_levels

from eapc.commands.compiler import analyze
from eapc.commands.preparation import Settings
from eapc.data import dataset
from eapc.errors import ModelError, UsageError
from eapc.model import Model
from eapc.routing import ROUTE_KEY, routed_parts

FIRST, SECOND = (Model.from_proto(convolutional(seed)) for seed in (0, 10))
SETTINGS = Settings(threads=1)


def with_facts(model: Model, **changed: object) -> Model:
    proto = model.to_proto()
    entry = next(e for e in proto.metadata_props if e.key == ROUTE_KEY)
    entry.value = json.dumps({**json.loads(entry.value), **changed})
    return Model.from_proto(proto)


def test_macs_by_hand() -> None:
    """Of 2 features and 2 classes 4 MACs, of 2 and 2 again 4 for a quarter of the inputs."""
    energy = analyze(two_levels(lead(), exact(), 0.2), SETTINGS).energy
    assert energy.macs == 4 + 0.25 * 4
    assert not energy.unmodelled


def test_energy_is_that_of_the_first_and_a_share_of_the_second() -> None:
    model = two_levels(FIRST, SECOND, 0.4)
    first, second = (analyze(each, SETTINGS).energy for each in (FIRST, SECOND))
    ends = [analyze(model, SETTINGS, share).energy for share in (0.0, 0.4, 1.0)]
    always, some, both = (each.energy_mac_units for each in ends)
    assert some == pytest.approx(always + 0.4 * (both - always))
    by_node = {node.key: node.energy_mac_units for node in ends[2].nodes}
    scope = "router/If/then_branch/router/second/"
    for name in ("stem", "relu", "pool", "last"):
        assert by_node[name] == first.by_node[name].energy_mac_units
        assert by_node[f"{scope}{name}"] == pytest.approx(second.by_node[name].energy_mac_units)
    gathered = by_node["router/If/then_branch/router/rows/Gather_2"]
    assert both - always == pytest.approx(second.energy_mac_units + gathered)
    assert ends[1].weights == first.weights + second.weights
    assert ends[1].latency_ms is not None


def test_nodes_have_the_keys_of_the_file() -> None:
    model = two_levels(FIRST, SECOND, 0.4)
    analysis = analyze(model, SETTINGS)
    keys = {node.key for node in model.nodes}
    assert {node.key for node in analysis.energy.nodes} <= keys
    fused = [node for node in analysis.energy.nodes if node.fused_into]
    assert any("then_branch" in node.key for node in fused)
    assert {node.fused_into for node in fused} <= keys
    branches = {each.name: each.g for each in analysis.model.to_proto().graph.node[-1].attribute}
    annotated = branches["then_branch"].node
    assert any(e.key == "eapc.energy_mac_units" for node in annotated for e in node.metadata_props)


def test_the_share_is_given_or_measured_or_the_files() -> None:
    """Of four inputs, three are unsure."""
    model = two_levels(lead(), exact(), 0.2)
    x = np.array([[3, 1], [0.1, 1], [0, 1], [-0.1, 1]], np.float32)
    seen = replace(SETTINGS, calibration=dataset({"x": x}, model.inputs, "here"))
    notes = [analyze(model, *asked).notes[0] for asked in ((SETTINGS,), (seen,), (seen, 0.5))]
    assert notes == [
        "25 % of the inputs are taken to be sent on, as the file says; --share or --calib say "
        "otherwise",
        "75 % of the inputs are taken to be sent on, as on the calibration inputs; --share says "
        "otherwise",
        "50 % of the inputs are taken to be sent on, as --share says",
    ]
    assert analyze(model, seen).energy.macs == 4 + 0.75 * 4


def test_densities_are_measured_in_both_networks() -> None:
    model = two_levels(FIRST, SECOND, 0.4)
    data = dataset({"x": images(16)}, model.inputs, "here")
    energy = analyze(model, replace(SETTINGS, calibration=data), 1.0).energy
    alone = analyze(SECOND, replace(SETTINGS, calibration=data)).energy
    found = energy.by_node["router/If/then_branch/router/second/last"]
    assert found.nonskipped_counted
    assert found.densities == alone.by_node["last"].densities
    assert found.energy_mac_units == pytest.approx(alone.by_node["last"].energy_mac_units)


def test_of_a_batch_only_some_are_run() -> None:
    """Of 8 inputs a quarter, 2, share the second network's weights: as at a batch of 2."""
    model = two_levels(FIRST, SECOND, 0.4)
    at_eight = analyze(model, replace(SETTINGS, batch=8)).energy
    alone = analyze(SECOND, replace(SETTINGS, batch=2)).energy
    found = at_eight.by_node["router/If/then_branch/router/second/stem"].energy_mac_units
    assert found == pytest.approx(0.25 * alone.by_node["stem"].energy_mac_units)


def test_a_batch_of_one_is_priced_too() -> None:
    first, second = (Model.from_proto(convolutional(seed, 1)) for seed in (0, 10))
    model = two_levels(first, second, 0.4, one_by_one=True)
    both = analyze(model, SETTINGS, 1.0).energy.energy_mac_units
    always = analyze(model, SETTINGS, 0.0).energy.energy_mac_units
    alone = analyze(second, SETTINGS).energy.energy_mac_units
    assert both - always == pytest.approx(alone)


def test_weights_of_a_microcontroller_are_those_of_both() -> None:
    settings = replace(SETTINGS, hardware="cortex-m4")
    held = [analyze(each, settings).energy.footprint for each in (FIRST, SECOND)]
    both = analyze(two_levels(FIRST, SECOND, 0.4), settings).energy.footprint
    assert both is not None
    alone = [each.weight_bytes for each in held if each is not None]
    assert both.weight_bytes == sum(alone)
    assert both.peak[1] == max(each.peak[1] for each in held if each is not None)


def test_a_file_with_external_data_is_taken_apart(tmp_path: Path) -> None:
    model = two_levels(FIRST, SECOND, 0.4)
    path = tmp_path / "dynamic.onnx"
    import onnx

    onnx.save(
        model.to_proto(), str(path), save_as_external_data=True, location="d.data", size_threshold=0
    )
    read = analyze(path, SETTINGS).energy
    assert read.energy_mac_units == pytest.approx(analyze(model, SETTINGS).energy.energy_mac_units)
    assert read.nonzero_weights == analyze(model, SETTINGS).energy.nonzero_weights


# --- refused -------------------------------------------------------------------------------------


def test_a_share_goes_with_a_dynamic_network() -> None:
    with pytest.raises(UsageError, match="--share: goes with a dynamic network"):
        analyze(lead(), SETTINGS, 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_fraction(share: float) -> None:
    with pytest.raises(UsageError, match=r"--share: expected a fraction in \[0, 1\]"):
        analyze(two_levels(lead(), exact(), 0.2), SETTINGS, share)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"share": 2}, "share 2"), ({"share": "much"}, "much"), ({"node": "gone"}, "no If 'gone'")],
)
def test_metadata_that_do_not_fit_are_told(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        analyze(with_facts(two_levels(lead(), exact(), 0.2), **changed), SETTINGS)


def test_other_models_have_no_parts() -> None:
    assert routed_parts(linear(np.eye(2))) is None
    assert routed_parts(loaded([op("Relu", "x", "y")], {"x": ("N", 2)}, ["y"])) is None
