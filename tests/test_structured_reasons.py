"""One reason for every layer that keeps its channels, and the one that tells most."""

from __future__ import annotations

import numpy as np
from builders import Array, ints, op
from channel_builders import groups_of, net
from test_channels import IMAGE, plain, weights

from eapc.channels import ONE_CHANNEL
from eapc.layers import Skipped, find_layers
from eapc.model import Model
from eapc.structured import left_alone, most_telling, with_layers


def reasons(model: Model) -> list[tuple[str, str]]:
    found, layers = groups_of(model), find_layers(model)
    several = [group for group in found.groups if group.size > 1]
    layered = [with_layers(group, layers.layers, model) for group in several]
    return [(s.name, s.reason) for s in left_alone(model, found, layered, layers)]


def test_a_chain_keeps_its_outputs() -> None:
    assert reasons(plain()) == [("four", "their channels reach the output 'y'")]


def test_a_layer_that_cannot_be_pruned_says_why_and_its_group_names_it() -> None:
    """`two` reads the channels of `one` with weights on a grid without bounds."""
    nodes = [
        op("DequantizeLinear", "q s", "w2", axis=0),
        op("Conv", "x w1 b1", "c", "one"),
        op("Conv", "c w2", "y", "two"),
    ]
    endless = np.full(4, np.inf, np.float32)
    quantized: dict[str, Array] = {"q": np.ones((4, 6, 1, 1), np.int8), "s": endless}
    model = net(nodes, IMAGE, {**weights(w1=(6, 3, 1, 1), b1=(6,)), **quantized})
    assert reasons(model) == [
        ("one", "weights of its channels, those of 'two', are in no layer that can be pruned"),
        ("two", "weights have scales that are no finite numbers; quantize them anew"),
    ]


def test_a_lone_channel_is_told_of() -> None:
    """Of three channels the first two are read by another layer as well: the third is alone."""
    nodes = [
        op("Conv", "x w1", "c", "one"),
        op("Slice", "c zero two axis", "d"),
        op("Conv", "d w2", "e", "two"),
        op("Conv", "c w3", "f", "three"),
        op("Add", "e f", "y"),
    ]
    ends = {"zero": ints(0), "two": ints(1), "axis": ints(1)}
    made = weights(w1=(2, 3, 1, 1), w2=(5, 1, 1, 1), w3=(5, 2, 1, 1))
    assert ("one", ONE_CHANNEL) in reasons(net(nodes, IMAGE, {**made, **ends}))


def test_what_holds_most_layers_tells_most() -> None:
    skipped = [
        Skipped("a", "their channels reach the output 'y'"),
        Skipped("b", "Softmax 's' mixes their channels"),
        Skipped("c", "LRN 'l1' mixes their channels"),
        Skipped("d", "LRN 'l2' mixes their channels"),
        Skipped("e", "their channels reach the output 'z'"),
        Skipped("f", "their channels reach the output 'z'"),
    ]
    assert most_telling(skipped) == "LRN 'l1' mixes their channels ('c' and 1 more like it)"
    assert most_telling(skipped[:2]) == "Softmax 's' mixes their channels ('b')"
    assert most_telling(skipped[:1]) == "their channels reach the output 'y' ('a')"
    assert most_telling(()) == "no layer makes any"
