"""Workloads of the operators that carry a state along a sequence without being cells.

Linear attention and the causal convolutions in front of it, ONNX's (opset 27) and onnxruntime's.
"""

from __future__ import annotations

from collections.abc import Mapping

from eapc.workload.loop_nests import ConvWorkload, StreamWorkload
from eapc.workload.rules import Operands, Part, UnmodelledError, Work, workload_rule

ORT = "com.microsoft"

_UPDATES: Mapping[str, tuple[bool, bool]] = {
    "linear": (False, False),
    "gated": (True, False),
    "delta": (False, True),
    "gated_delta": (True, True),
}
"""Whether a rule lets the state decay, and whether it first looks up what the state holds."""


@workload_rule("LinearAttention")
def linear_attention(operands: Operands) -> Work:
    """q (B, T, Hq dk), k (B, T, H dk), v (B, T, H dv), a state (B, H, dk, dv), step by step.

    macs = B T dk dv (max(Hq, H) + H + H if a delta rule): each head reads the state once, each
    state takes up k v^T, and a delta rule reads it at k before that. A decay multiplies the state,
    a delta rule adds 2 operations for each value. Every step waits for the one before, so that the
    state is fetched anew; working in chunks is a matter of speed, and counts as this.
    """
    node, (batch, steps, width) = operands.node, operands.input(0)
    heads, kept = node.attribute("q_num_heads", 0), node.attribute("kv_num_heads", 0)
    rule = node.attribute("update_rule", "gated_delta")
    if not heads or not kept or rule not in _UPDATES:
        raise UnmodelledError(f"{heads} and {kept} heads under the rule '{rule}'")
    decays, looks_up = _UPDATES[rule]
    key, value = width // heads, operands.input(2)[2] // kept
    states = batch * kept
    query, keys, values, result = (*node.inputs[:3], node.outputs[0])
    write = ConvWorkload(1, states, value, 1, key, 1)
    look_up = ConvWorkload(1, states, value, key, 1, 1)
    read = ConvWorkload(1, states, value, key, max(heads // kept, 1), 1)
    words = states * key * value
    gate = StreamWorkload(
        operations=decays * words + looks_up * 2 * states * value,
        ifmap_words=decays * words,
        ofmap_words=decays * words,
    )
    return Work(
        (
            *([Part(gate, times=steps)] if decays or looks_up else []),
            *([Part(look_up, ifmap=keys, times=steps)] if looks_up else []),
            Part(write, weights=values, ifmap=keys, times=steps),
            Part(read, ifmap=query, ofmap=result, times=steps),
        )
    )


@workload_rule("LinearAttention", domain=ORT)
def fused_linear_attention(operands: Operands) -> Work:
    """The same; a window of states is not modelled."""
    if operands.node.attribute("state_window", 0):
        raise UnmodelledError("a window of states")
    return linear_attention(operands)


_ACTIVATION = {"silu": 3, "swish": 3, "none": 0}
"""Operations for each value."""


@workload_rule("CausalConvWithState")
def causal_conv(operands: Operands) -> Work:
    """x (B, C, L), w (C, 1, k): macs = B C L k, and 3 operations per value of a SiLU behind it."""
    batch, channels, length = operands.input(0)
    return _causal(operands, batch, channels, length)


@workload_rule("CausalConvWithState", domain=ORT)
def fused_causal_conv(operands: Operands) -> Work:
    """The same along one axis, x (B, L, C) where `channels_last`, its taps `dilation` apart."""
    node, x = operands.node, operands.input(0)
    special = ("state_window", "state_update_capacity", "input_channels", "state_length")
    used = [name for name in special if node.attribute(name, 0)]
    if len(x) != 3 or node.attribute("ndim", 1) != 1 or used:
        raise UnmodelledError(f"{', '.join(used) or 'more than one spatial axis'}")
    batch, one, other = x
    last = node.attribute("channels_last", 0)
    channels, length = (other, one) if last else (one, other)
    return _causal(operands, batch, channels, length)


def _causal(operands: Operands, batch: int, channels: int, length: int) -> Work:
    """Positions before the first are the state's, or zeros that count as a convolution's do."""
    node, taps = operands.node, operands.input(1)[2]
    dilation = node.attribute("dilation", 1)
    read = length * taps - (0 if node.input(3) else _outside(length, taps, dilation))
    load = ConvWorkload(
        batch=batch,
        groups=channels,
        filters_per_group=1,
        channels_per_group=1,
        ofmap_rows=1,
        ofmap_columns=length,
        filter_columns=taps,
        dilation_columns=dilation,
        unpadded_fraction=read / (length * taps),
    )
    convolution = Part(load, weights=node.inputs[1], ifmap=node.inputs[0], ofmap=node.outputs[0])
    each = _ACTIVATION[node.attribute("activation", "none")]
    if not each:
        return Work((convolution,))
    behind = StreamWorkload(operations=each * batch * channels * length)
    return Work((convolution, Part(behind, ofmap=node.outputs[0])))


def _outside(length: int, taps: int, dilation: int) -> int:
    """Pairs of output and tap that read before the first position."""
    return sum(min(length, tap * dilation) for tap in range(taps))
