"""What lies behind a layer, run on its own."""

from __future__ import annotations

import numpy as np
import pytest
from pruning_builders import NETS, residual

from eapc.calibration import ActivationWalk, DownstreamRun, downstream_of
from eapc.layers import find_layers
from eapc.model import as_seen
from eapc.runtime import collect_outputs


def test_a_suffix_starts_where_the_change_does() -> None:
    model = residual().model
    downstream = downstream_of(model, ["w2"])
    assert [node.name for node in downstream.nodes[:1]] == ["conv2"]
    assert set(downstream.inputs) == {"r1", "r0"}  # the block's inside, and the branch around it
    assert downstream.outputs == ("y",)
    assert downstream_of(model, ["fw"]).inputs == ("flat",)
    assert downstream_of(model, ["w0"]).inputs == ("x",)


@pytest.mark.parametrize("name", NETS)
def test_a_suffix_gives_the_outputs_of_the_changed_network(name: str) -> None:
    net = NETS[name]()
    model = net.model
    for tied in find_layers(model).layers:
        changed = model.with_weights({tied.weight: tied.stored(model, 0.5 * tied.matrix(model))})
        names = dict.fromkeys(user.source.tensor for user in tied.users)
        downstream = downstream_of(model, names)
        walk = ActivationWalk(model, net.data, [downstream.inputs], 1, 1)
        before, after = (
            {user.source.tensor: as_seen(one, user.source) for user in tied.users}
            for one in (model, changed)
        )
        run = DownstreamRun(model, downstream, walk.step(0, model), before, 1)
        expected = collect_outputs(changed, net.data, 1)
        for output, value in run.outputs(after).items():
            np.testing.assert_allclose(value, expected[output], rtol=1e-2, atol=1e-3)
