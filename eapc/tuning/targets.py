"""What a network's outputs are held to: the original's, where they tell most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eapc.errors import ModelError
from eapc.evaluation import SplitOutput, class_scores
from eapc.model import Array, Model, TensorSpec, infer_shapes, input_shapes, is_float
from eapc.runtime import Session, with_outputs

_SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh")
"""What an output may end in: errors before it are worth more where it is flat."""

_CHOOSING = ("ArgMax", "ArgMin", "Hardmax", "TopK")
"""What an output may end in that has no gradient: what is chosen from is held to the teacher's."""

_VIEWING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""What may stand behind these and changes nothing of what they say."""


@dataclass(frozen=True)
class Teacher:
    """The original network, asked for the tensors that the student's are held to.

    `names` are those of the student, and of the teacher.
    """

    names: tuple[str, ...]
    session: Session = field(repr=False)

    @classmethod
    def of(cls, student: Model, teacher: Model, threads: int = 0) -> Teacher:
        """The teacher of a student that was made from it, or has the same inputs and outputs.

        Raises ModelError where they differ.
        """
        for what, mine, theirs in (
            ("inputs", *([_spec(i) for i in each.inputs] for each in (student, teacher))),
            ("outputs", list(student.outputs), list(teacher.outputs)),
        ):
            if mine != theirs:
                raise ModelError(
                    f"{what} {', '.join(mine)} are not those of the teacher: {', '.join(theirs)}"
                )
        deepest = (_deepest(student, teacher, name) for name in student.outputs)
        names = _floats(student, tuple(dict.fromkeys(deepest)))
        proto = with_outputs(teacher.to_proto(embed=True), names)
        return cls(names, Session(proto, threads))

    def targets(self, feed: Mapping[str, Array]) -> list[Array]:
        """The wanted tensors of one batch."""
        found = self.session.run(feed)
        return [found[name] for name in self.names]


def _spec(given: TensorSpec) -> str:
    """`x (float32, 4 axes)`."""
    return f"{given.name} ({given.dtype.name}, {len(given.shape)} axes)"


def _deepest(student: Model, teacher: Model, output: str) -> str:
    """What both squash or choose from to make an output, or else the output itself."""
    found = tensor = output
    while True:
        producers = [model.view.producer(tensor) for model in (student, teacher)]
        operands = {node.input(0) if node else "" for node in producers}
        kinds = {node.op_type if node else "" for node in producers}
        if len(operands) > 1 or len(kinds) > 1:
            return found
        (tensor,), (kind,) = operands, kinds
        if kind in (*_SQUASHING, *_CHOOSING):
            found = tensor
        elif kind not in _VIEWING:
            return found


def _floats(model: Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are floating point, to which alone gradients go; all where none is."""
    specs = infer_shapes(model, input_shapes(model, {}, None)).by_scope[""]
    found = tuple(name for name in names if name not in specs or is_float(specs[name].dtype))
    return found or names


def factors(
    names: Sequence[str], targets: Sequence[Sequence[Array]], joined: Mapping[str, Array]
) -> list[Array]:
    """What squared errors of each target count, (1, ...) in the shape of a sample.

    Summed over a sample, so weighed, they are the mean over all parts of the error relative to the
    variance of the part: the parts of `evaluation`, by which goals are judged. `targets` are those
    of several batches, `joined` says of outputs which tensors they are joined from.
    """
    split = []
    for name, batches in zip(names, zip(*targets, strict=True), strict=True):
        y = np.concatenate(batches)
        by_scale = len(names) > 1 or class_scores({name: y}) is None
        split.append(SplitOutput.of(name, y, joined.get(name), by_scale=by_scale))
    count = sum(len(each.parts) for each in split)
    return [_factor(each) / np.float32(count) for each in split]


def _factor(split: SplitOutput) -> Array:
    """Samples over the power of each element's part; of a part without any, over its elements."""
    samples, sample = len(split.y), split.y.shape[1:]
    sizes = np.bincount(split.labels, minlength=len(split.parts))
    whole = math.prod(sample) / max(1, len(split.labels)) * sizes
    powers = [part.power or samples * size for part, size in zip(split.parts, whole, strict=True)]
    by_place = (samples / np.array(powers))[split.labels].astype(np.float32)
    if split.axis is None:
        return by_place.reshape(1, *sample)
    shape = [-1 if axis == split.axis else 1 for axis in range(len(sample))]
    return np.asarray(by_place.reshape(1, *shape))
