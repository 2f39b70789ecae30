"""What a network's outputs are held to: the original's, where they tell most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from eapc.errors import ModelError
from eapc.model import Array, Model, TensorSpec
from eapc.runtime import Session, with_outputs

_SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh")
"""What an output may end in: errors before it are worth more where it is flat."""


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
        names = tuple(_deepest(student, teacher, name) for name in student.outputs)
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
    """What both squash to make an output, or else the output itself."""
    producers = [model.view.producer(output) for model in (student, teacher)]
    squashed = {node.input(0) if node else "" for node in producers}
    kinds = {node.op_type if node else "" for node in producers}
    if len(squashed) == len(kinds) == 1 and kinds <= set(_SQUASHING):
        return squashed.pop()
    return output


def powers(targets: list[list[Array]]) -> list[float]:
    """The variance of each target over batches: what its squared error is relative to.

    Of a target that is constant it is its mean square, or 1 where that is 0.
    """
    found = []
    for batches in zip(*targets, strict=True):
        values = np.concatenate([np.asarray(b, np.float64).reshape(len(b), -1) for b in batches])
        spread = float(values.var(axis=0).mean()) or float(np.square(values).mean())
        found.append(spread or 1.0)
    return found
