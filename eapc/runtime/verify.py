"""What must hold of a written model before it takes its name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnx

from eapc.data import Dataset
from eapc.errors import EapcError, ModelError, VerificationError
from eapc.model import (
    ONNX,
    Array,
    Check,
    KeptPart,
    Model,
    Origin,
    decode,
    drop_annotations,
    explained,
    is_external,
    plain_by_unique_name,
    tensors_of_model,
    walk,
)
from eapc.runtime.half_precision import holds_halves
from eapc.runtime.sessions import Session, open_model


def verifier(
    original: Model, changed: frozenset[str], data: Dataset | None, threads: int = 0
) -> Check:
    """A check of a written file against the model it was made from.

    The file must pass onnx's checker if the original does, have the same inputs and
    outputs, differ from the original in the tensors `changed` alone (and in `eapc.*`
    metadata), and, where `data` is given, run in onnxruntime with finite outputs. A model
    that was cut out of another must have that one's inputs and outputs, no tensor that it has
    not, parts of its constants that are the same to the bit, and load in onnxruntime if that
    one does. The check raises VerificationError.
    """

    def check(path: Path) -> None:
        written = _read(path)
        _check_format(original, path)
        _check_differences(original.original, written, changed)
        if original.origin is not None:
            _check_cut(original.origin, written, changed)
            _check_loads(original.origin, path, threads)
        if data is not None:
            _check_outputs(original.original, path, data, threads)

    return check


def _read(path: Path) -> Model:
    try:
        return Model.load(path, warn=False)
    except ModelError as error:
        raise VerificationError(f"the result cannot be read back: {error}") from error


def _check_format(original: Model, path: Path) -> None:
    fault = _checker_fault(str(path))
    if fault and not _checker_fault(str(original.path or "") or original.view.proto):
        raise VerificationError(f"the checker refuses the result: {fault}")


def _checker_fault(model: str | onnx.ModelProto) -> str:
    """What onnx's checker finds wrong, on one line; empty if nothing."""
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        return explained(error, ONNX)
    return ""


def _check_differences(original: Model, written: Model, changed: frozenset[str]) -> None:
    before, after = original.with_plain(changed).view.proto, written.view.proto
    for one, other, what in (
        (before.graph.input, after.graph.input, "inputs"),
        (before.graph.output, after.graph.output, "outputs"),
    ):
        if list(one) != list(other):
            raise VerificationError(f"the {what} of the result differ from the original's")
    if _without_tensors(before) != _without_tensors(after):
        raise VerificationError("the result differs from the original in more than its weights")
    pairs = zip(_named_tensors(before), _named_tensors(after), strict=True)
    for (name, tensor), (_, other_tensor) in pairs:
        if name not in changed and not _same(original, tensor, written, other_tensor):
            raise VerificationError(f"tensor '{name}' changed although nothing meant it to")


def _named_tensors(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Every tensor by its unique name; a Constant node's goes by its output's."""
    plain = plain_by_unique_name(proto)
    names = {id(tensor): name for name, tensor in plain.items()}  # their own while `plain` is held
    for tensor in tensors_of_model(proto):
        yield names.get(id(tensor), tensor.name), tensor


def _same(
    model: Model, tensor: onnx.TensorProto, other: Model, other_tensor: onnx.TensorProto
) -> bool:
    if not is_external(tensor) and not is_external(other_tensor):
        return bool(tensor == other_tensor)
    return _equal_bits(decode(tensor, model.folder), decode(other_tensor, other.folder))


def _without_tensors(proto: onnx.ModelProto) -> onnx.ModelProto:
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for tensor in tensors_of_model(bare):
        name, dims, kind = tensor.name, list(tensor.dims), tensor.data_type
        tensor.Clear()
        tensor.name, tensor.data_type = name, kind
        tensor.dims.extend(dims)
    for _, node in walk(bare.graph):
        drop_annotations(node)
    return bare


def _check_cut(origin: Origin, written: Model, changed: frozenset[str]) -> None:
    source = origin.model
    if (source.inputs, _output_values(source)) != (written.inputs, _output_values(written)):
        raise VerificationError("the smaller model has other inputs or outputs than the original")
    foreign = _computed(written) - _computed(source) - origin.new
    if foreign:
        raise VerificationError(
            f"tensor '{min(foreign)}' of the smaller model is not the original's"
        )
    for name in written.constants.plain.keys() - changed - origin.new:
        part = origin.parts.get(name, KeptPart(name))
        whole, found = source.constants.value(part.constant), written.constants.value(name)
        if whole is None or found is None or not _equal_bits(part.of(whole), found):
            raise VerificationError(f"tensor '{name}' is no part of the original's")


def _output_values(model: Model) -> list[onnx.ValueInfoProto]:
    return list(model.view.proto.graph.output)


def _computed(model: Model) -> set[str]:
    return {name for node in model.view.main_nodes for name in node.outputs}


def _equal_bits(one: Array, two: Array) -> bool:
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def _check_loads(origin: Origin, path: Path, threads: int) -> None:
    try:
        Session(path, threads)
    except EapcError as error:
        try:
            open_model(origin.model, threads)
        except EapcError:
            return  # onnxruntime lacks an operator of the original too
        raise VerificationError(f"the result does not load: {error}") from error


def _check_outputs(original: Model, path: Path, data: Dataset, threads: int) -> None:
    try:
        written = Session(path, threads)
        for feed in _feeds(original, data):
            after = written.run(feed)
            overflowing = [name for name, value in after.items() if not _holds_finite(value)]
            before = open_model(original, threads).run(feed) if overflowing else {}
            for name in overflowing:
                if _holds_finite(before[name]):
                    said = f"output '{name}' of the result holds NaN or infinity"
                    raise VerificationError(said)
    except VerificationError:
        raise
    except EapcError as error:
        raise VerificationError(f"the result does not run: {error}") from error


def _feeds(original: Model, data: Dataset) -> Iterator[dict[str, Array]]:
    """A few inputs; all of them where floats of 16 bits may overflow."""
    few = 1 if not holds_halves(original.view.proto) else None
    return islice(data.batches(8), few)


def _holds_finite(value: Array | list[Array]) -> bool:
    """False where an output, or an element of a sequence, holds NaN or infinity."""
    if isinstance(value, list):
        return all(_holds_finite(np.asarray(element)) for element in value)
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())
