"""If, Loop and Scan: what a subgraph's outputs are, of the values that it is handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eapc.autograd.arrays import ints
from eapc.autograd.rules import Call

Runner = Callable[[Sequence[Tensor]], list[Tensor]]
"""A subgraph's outputs, by the values of its inputs."""


def branch(_: Call, bodies: dict[str, Runner], condition: Tensor) -> list[Tensor]:
    """The outputs of one of two subgraphs."""
    return bodies["then_branch" if bool(condition) else "else_branch"](())


def loop(
    _: Call,
    bodies: dict[str, Runner],
    limit: Tensor | None,
    condition: Tensor | None = None,
    *state: Tensor,
) -> list[Tensor]:
    """The last values that the body carried, and all of those that it gave out, stacked."""
    most = None if limit is None else ints(limit)[0]
    goes_on = condition if condition is not None else torch.tensor(True)
    carried, given, at = list(state), list[list[Tensor]](), 0
    while bool(goes_on) and (most is None or at < most):
        step = torch.tensor(at, dtype=torch.int64)
        goes_on, *found = bodies["body"]((step, goes_on, *carried))
        carried = found[: len(state)]
        given.append(found[len(state) :])
        at += 1
    return [*carried, *(torch.stack(each) for each in zip(*given, strict=True))]


def scan(call: Call, bodies: dict[str, Runner], *inputs: Tensor) -> list[Tensor]:
    """The last states, and what each step gave out, along an axis of each scanned input."""
    scanned = call.get("num_scan_inputs")
    carried, sequences = list(inputs[: len(inputs) - scanned]), inputs[len(inputs) - scanned :]
    axes = call.get("scan_input_axes", [0] * scanned)
    backwards = call.get("scan_input_directions", [0] * scanned)
    length = sequences[0].shape[axes[0]]
    given: list[list[Tensor]] = []
    for at in range(length):
        slices = [
            x.select(axis, length - 1 - at if back else at)
            for x, axis, back in zip(sequences, axes, backwards, strict=True)
        ]
        found = bodies["body"]((*carried, *slices))
        carried = found[: len(carried)]
        given.append(found[len(carried) :])
    stacked = list(zip(*given, strict=True))
    along = call.get("scan_output_axes", [0] * len(stacked))
    reverse = call.get("scan_output_directions", [0] * len(stacked))
    ends = [
        torch.stack(each[::-1] if back else each, axis)
        for each, axis, back in zip(stacked, along, reverse, strict=True)
    ]
    return [*carried, *ends]


CONTROL: dict[str, Callable[..., list[Tensor]]] = {"If": branch, "Loop": loop, "Scan": scan}
"""What takes subgraphs, by operator."""
