"""What depends on a graph alone is worked out once, however many stages ask."""

from __future__ import annotations

import pytest
from pruning_builders import residual
from structured_builders import compiled

from eapc.model import InputShapes, Model, Shapes, shapes

ZEROS = "prune-weights{energy=0.7}, reconstruct-outputs, annotate-energy"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """The models whose shapes are inferred from now on."""
    seen: list[Model] = []
    infer = shapes._inferred

    def counting(model: Model, inputs: InputShapes) -> Shapes:
        seen.append(model)
        return infer(model, inputs)

    monkeypatch.setattr(shapes, "_inferred", counting)
    return seen


def test_weights_and_annotations_change_no_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    compiled(residual(), f"annotate-energy, {ZEROS}")
    assert len(seen) == 1


def test_every_graph_has_its_shapes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    channels = "prune-channels{energy=0.8}, reconstruct-outputs{keep_mask=true}, shrink-channels"
    compiled(residual(), f"annotate-energy, {channels}, annotate-energy, {ZEROS}")
    assert len(seen) == len({model.view for model in seen})
