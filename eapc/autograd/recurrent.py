"""LSTM, GRU and RNN, one step after another (equations: ONNX operators of these names)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from eapc.autograd.gains import Gain, gain_of
from eapc.autograd.rules import Call, rule

Function = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


@rule("RNN", weights=(1, 2), shifts=(3,))
def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> list[Tensor]:
    """Hidden states of a plain recurrent layer, all and last."""

    def cell(way: int) -> Step:
        (gain,) = _gains(call, way, ("Tanh",))
        bias = _biases(b, way, 1, w)

        def step(x_t: Tensor, state: State) -> State:
            return (gain(x_t @ w[way].t() + state[0] @ r[way].t() + bias),)

        return step

    return _run(call, x, r, lengths, (h,), cell)


@rule("GRU", weights=(1, 2), shifts=(3,))
def gru(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> list[Tensor]:
    """Hidden states of a gated recurrent layer, all and last; gates stand as z, r, h."""

    def cell(way: int) -> Step:
        gate, gain = _gains(call, way, ("Sigmoid", "Tanh"))
        size = r.shape[-1]
        wb, rb = _apart(b, way, 3, w)

        def step(x_t: Tensor, state: State) -> State:
            before = state[0]
            inputs = (x_t @ w[way].t() + wb).chunk(3, -1)
            hidden = (before @ r[way][: 2 * size].t() + rb[: 2 * size]).chunk(2, -1)
            update, reset = (gate(a + c) for a, c in zip(inputs[:2], hidden, strict=True))
            inner, bias = r[way][2 * size :].t(), rb[2 * size :]
            if call.get("linear_before_reset", 0):
                recurrent = reset * (before @ inner + bias)
            else:
                recurrent = (reset * before) @ inner + bias
            new = gain(inputs[2] + recurrent)
            return ((1 - update) * new + update * before,)

        return step

    return _run(call, x, r, lengths, (h,), cell)


@rule("LSTM", weights=(1, 2, 7), shifts=(3,))
def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    peephole: Tensor | None = None,
) -> list[Tensor]:
    """Hidden states, all and last, and last cell states; gates stand as i, o, f, c."""

    def cell(way: int) -> Step:
        gate, gain, squash = _gains(call, way, ("Sigmoid", "Tanh", "Tanh"))
        size = r.shape[-1]
        bias = _biases(b, way, 4, w)
        p = peephole[way] if peephole is not None else w.new_zeros(3 * size)
        p_in, p_out, p_forget = p.chunk(3)

        def step(x_t: Tensor, state: State) -> State:
            before, memory = state
            gates = x_t @ w[way].t() + before @ r[way].t() + bias
            enter, leave, forget, new = gates.chunk(4, -1)
            enter = gate(enter + p_in * memory)
            kept = 1 - enter if call.get("input_forget", 0) else gate(forget + p_forget * memory)
            memory = kept * memory + enter * gain(new)
            return gate(leave + p_out * memory) * squash(memory), memory

        return step

    return _run(call, x, r, lengths, (h, c), cell)


def _run(
    call: Call,
    x: Tensor,
    r: Tensor,
    lengths: Tensor | None,
    starts: Sequence[Tensor | None],
    cell: Callable[[int], Step],
) -> list[Tensor]:
    """Every step of every direction: Y and the last states, in the layout of the node."""
    by_batch = bool(call.get("layout", 0))
    x = x.transpose(0, 1) if by_batch else x
    starts = [s.transpose(0, 1) if s is not None and by_batch else s for s in starts]
    ways, size = r.shape[0], r.shape[-1]
    all_states, last_states = [], []
    for way in range(ways):
        empty = x.new_zeros(x.shape[1], size)
        state = tuple(empty if start is None else start[way] for start in starts)
        backwards = way == 1 or call.get("direction", "forward") == "reverse"
        hidden, last = _sequence(x, state, cell(way), lengths, backwards)
        all_states.append(hidden)
        last_states.append(last)
    y = torch.stack(all_states, 1)
    ends = [torch.stack(each) for each in zip(*last_states, strict=True)]
    if by_batch:
        y, ends = y.permute(2, 0, 1, 3), [each.transpose(0, 1) for each in ends]
    return [y, *ends][: call.outputs]


def _sequence(
    x: Tensor, state: State, step: Step, lengths: Tensor | None, backwards: bool
) -> tuple[Tensor, State]:
    """Hidden states (time, batch, hidden) and the last state; steps beyond a length do nothing."""
    hidden: list[Tensor] = [x.new_zeros(0)] * len(x)
    places = range(len(x))
    for at in reversed(places) if backwards else places:
        new = step(x[at], state)
        if lengths is None:
            state, hidden[at] = new, new[0]
            continue
        alive = (lengths > at)[:, None]
        state = tuple(torch.where(alive, n, old) for n, old in zip(new, state, strict=True))
        hidden[at] = torch.where(alive, new[0], torch.zeros_like(new[0]))
    return torch.stack(hidden), state


def _gains(call: Call, way: int, usual: Sequence[str]) -> list[Function]:
    """The activations of one direction, with their parameters and the clip before them.

    What an LSTM makes of its cell states, the third, is not clipped, as onnxruntime has it.
    """
    ways = 2 if call.get("direction", "forward") == "bidirectional" else 1
    names = call.get("activations", tuple(usual) * ways)
    alphas, betas = iter(call.get("activation_alpha", ())), iter(call.get("activation_beta", ()))
    found: list[Function] = []
    for place, name in enumerate(names):
        gain = gain_of(name.decode() if isinstance(name, bytes) else name)
        clip = call.get("clip") if place % len(usual) < 2 else None
        found.append(partial(_clipped, gain, gain.parameters(alphas, betas), clip))
    return found[way * len(usual) : (way + 1) * len(usual)]


def _clipped(gain: Gain, parameters: Sequence[float], clip: float | None, x: Tensor) -> Tensor:
    return gain.function(x if clip is None else x.clamp(-clip, clip), *parameters)


def _biases(b: Tensor | None, way: int, gates: int, w: Tensor) -> Tensor:
    """The biases of inputs and states of one direction, added."""
    first, second = _apart(b, way, gates, w)
    return first + second


def _apart(b: Tensor | None, way: int, gates: int, w: Tensor) -> tuple[Tensor, Tensor]:
    rows = w.shape[1]
    if b is None:
        return w.new_zeros(rows), w.new_zeros(rows)
    assert rows % gates == 0  # the file's signature says so
    return b[way][:rows], b[way][rows:]
