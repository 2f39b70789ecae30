"""Axis rules of normalisations: by channel, by group of channels, by position."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eapc.channels.axis_rules import (
    Effect,
    LeftWholeError,
    Site,
    Tie,
    axis_rule,
    positive,
    tie_axes,
)
from eapc.channels.groups import Number


@axis_rule("BatchNormalization")
def batch_normalization(site: Site) -> Iterator[Effect]:
    """Everything follows axis 1: scale, offset and statistics, those of training included."""
    x, y = site.input(0), site.output()
    yield from tie_axes(x, y, range(x.rank))
    for port in (*site.given(1), *site.results()[1:]):
        yield Tie(port, 0, y, 1)


@axis_rule("InstanceNormalization")
def instance_normalization(site: Site) -> Iterator[Effect]:
    """Scale and offset follow axis 1; each channel is normalised over its positions alone."""
    x, y = site.input(0), site.output()
    yield from tie_axes(x, y, (0, 1))
    for port in site.given(1):
        yield Tie(port, 0, y, 1)


@axis_rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalization(site: Site) -> Iterator[Effect]:
    """The normalised axes, `axis` and those behind, stay whole."""
    x, y = site.input(0), site.output()
    yield from tie_axes(x, y, range(positive(site.node.attribute("axis", -1), x.rank)))


@axis_rule("GroupNormalization")
def group_normalization(site: Site) -> Iterator[Effect]:
    """The channels of a group share their statistics: a group goes whole or stays."""
    x, y = site.input(0), site.output()
    groups, channels = int(site.node.attribute("num_groups", 1)), x.shape[1]
    if groups < 2 or channels % groups:
        raise LeftWholeError("all channels share their statistics")
    width = channels // groups
    firsts = np.arange(channels) // width * width
    yield from tie_axes(x, y, (0, 1))
    yield Tie(y, 1, y, 1, None, firsts)
    for port in site.given(1):  # one of each for a group before opset 21, then for a channel
        places = np.arange(channels) // (channels // port.shape[0])
        yield Tie(y, 1, port, 0, None, places)
    yield Number(site.node.key, 0, y.tensor, 1, 0, channels, width, attribute="num_groups")
