"""What values an operator's attributes may have, beyond the type that onnx's schema gives them.

A table by attribute and operator; only what no runtime could take is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from onnx import AttributeProto, TensorProto

from eapc.model.tensors import KNOWN_TYPES

Attributes = Mapping[str, AttributeProto]
"""A node's attributes by name, without those left to whoever calls a local function."""

Single = Callable[[str, AttributeProto], Iterator[str]]
"""What is wrong with an attribute of that name by itself."""

Rule = Callable[[str, Attributes, int], Iterator[str]]
"""What is wrong with the attributes of an operator's node that has so many inputs."""


def value_faults(op_type: str, found: Attributes, inputs: int) -> Iterator[str]:
    """What is wrong with the values of a node's attributes, a line each."""
    for name, attribute in found.items():
        if (op_type, name) in _SINGLE:
            yield from _SINGLE[op_type, name](name, attribute)
    for rule in _RULES.get(op_type, ()):
        yield from rule(op_type, found, inputs)


# --- words, numbers and types -------------------------------------------------------------------


_PADDING = "NOTSET SAME_UPPER SAME_LOWER VALID"
_WORDS: Mapping[str, Mapping[str, str]] = {
    "auto_pad": dict.fromkeys(
        "AveragePool Conv ConvInteger ConvTranspose LpPool MaxPool QLinearConv".split(), _PADDING
    ),
    "direction": {
        **dict.fromkeys(("RNN", "GRU", "LSTM"), "forward reverse bidirectional"),
        "BitShift": "LEFT RIGHT",
    },
    "mode": {
        "Pad": "constant reflect edge wrap",
        "Resize": "nearest linear cubic",
        "Upsample": "nearest linear bilinear",
        "GridSample": "bilinear linear nearest bicubic cubic",
        "RoiAlign": "avg max",
        "DepthToSpace": "DCR CRD",
        "TfIdfVectorizer": "TF IDF TFIDF",
    },
    "coordinate_transformation_mode": {
        "Resize": "half_pixel half_pixel_symmetric pytorch_half_pixel align_corners asymmetric "
        "tf_half_pixel_for_nn tf_crop_and_resize",
        "RoiAlign": "half_pixel output_half_pixel",
    },
    "nearest_mode": {"Resize": "round_prefer_floor round_prefer_ceil floor ceil"},
    "padding_mode": {"GridSample": "zeros border reflection"},
    "approximate": {"Gelu": "none tanh"},
    "reduction": {
        **dict.fromkeys(("ScatterElements", "ScatterND"), "none add mul max min"),
        **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), "none mean sum"),
    },
}


def _one_of(words: str) -> Single:
    allowed = words.split()

    def faults(name: str, attribute: AttributeProto) -> Iterator[str]:
        word = _text(attribute)
        if word and word not in allowed:
            yield f"attribute '{name}' is '{word}', expected one of {', '.join(allowed)}"

    return faults


def _text(attribute: AttributeProto) -> str:
    return attribute.s.decode(errors="replace")


_RECURRENT = ("RNN", "GRU", "LSTM")
_POSITIVE: Mapping[str, Sequence[str]] = {
    "hidden_size": _RECURRENT,
    "blocksize": ("DepthToSpace", "SpaceToDepth"),
    "num_outputs": ("Split",),
    "size": ("LRN",),
    "num_groups": ("GroupNormalization",),
    "num_scan_inputs": ("Scan",),
}


def _positive(name: str, attribute: AttributeProto) -> Iterator[str]:
    if attribute.i < 1:
        yield f"attribute '{name}' is {attribute.i}, it begins at 1"


_TYPES: Mapping[str, Sequence[str]] = {
    "to": ("Cast",),
    "dtype": """Bernoulli EyeLike Multinomial RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike SequenceEmpty""".split(),
    "output_datatype": ("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
}


def _element_type(name: str, attribute: AttributeProto) -> Iterator[str]:
    if attribute.i not in KNOWN_TYPES:
        yield f"attribute '{name}' is {attribute.i}, which is no element type that onnx knows"


_SINGLE: Mapping[tuple[str, str], Single] = {
    **{(op, name): _one_of(w) for name, words in _WORDS.items() for op, w in words.items()},
    **{(op, name): _positive for name, operators in _POSITIVE.items() for op in operators},
    **{(op, name): _element_type for name, operators in _TYPES.items() for op in operators},
}


# --- operators ----------------------------------------------------------------------------------


def _order(_: str, found: Attributes, __: int) -> Iterator[str]:
    perm = list(found["perm"].ints) if "perm" in found else []
    if sorted(perm) != list(range(len(perm))):
        yield f"attribute 'perm' is {perm}, which is no order of the axes"


_PER_AXIS = ("kernel_shape", "strides", "dilations", "output_padding")


def _spatial(_: str, found: Attributes, __: int) -> Iterator[str]:
    """One number per spatial axis, two of padding; sizes and steps begin at one."""
    lists: dict[str, Sequence[int]] = {
        name: list(found[name].ints) for name in (*_PER_AXIS, "pads") if name in found
    }
    for name, values in lists.items():
        least = 0 if name in ("pads", "output_padding") else 1
        if any(size < least for size in values):
            what = "sizes" if least else "paddings"
            yield f"attribute '{name}' is {values}, {what} begin at {least}"
    if "group" in found and found["group"].i < 1:
        yield f"attribute 'group' is {found['group'].i}, groups begin at 1"
    yield from _lengths({name: values for name, values in lists.items() if values})


def _lengths(lists: Mapping[str, Sequence[int]]) -> Iterator[str]:
    first = next((name for name in _PER_AXIS if name in lists), "")
    axes = len(lists[first]) if first else 0
    if len(lists.get("pads", ())) % 2:
        yield f"attribute 'pads' holds {_numbers(lists['pads'])}, not two per axis"
    for name, values in lists.items():
        wanted = 2 * axes if name == "pads" else axes
        if axes and len(values) != wanted:
            holds = f"attribute '{name}' holds {_numbers(values)}, not {wanted}"
            yield f"{holds}: '{first}' holds {axes}, one per axis"


def _numbers(values: Sequence[object]) -> str:
    return f"{len(values)} number" if len(values) == 1 else f"{len(values)} numbers"


def _padding(_: str, found: Attributes, __: int) -> Iterator[str]:
    """Before opset 11 Pad has its paddings here: two per axis, cut away where negative."""
    for name in ("pads", "paddings"):
        if name in found and len(found[name].ints) % 2:
            yield f"attribute '{name}' holds {_numbers(found[name].ints)}, not two per axis"


def _slices(_: str, found: Attributes, __: int) -> Iterator[str]:
    lengths = {n: len(found[n].ints) for n in ("starts", "ends", "axes") if n in found}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        yield f"attributes differ in length: {said}"


def _parts(_: str, found: Attributes, __: int) -> Iterator[str]:
    sizes = list(found["split"].ints) if "split" in found else []
    if any(size < 0 for size in sizes):
        yield f"attribute 'split' is {sizes}, sizes begin at 0"


_TERM = re.compile(r"[A-Za-z]*(?:\.\.\.)?[A-Za-z]*")


def _equation(_: str, found: Attributes, inputs: int) -> Iterator[str]:
    """Terms of letters and at most one ellipsis, one for each input; results name their axes."""
    if "equation" not in found:
        return
    given = _text(found["equation"])
    left, arrow, right = "".join(given.split()).partition("->")
    terms = left.split(",")
    if not all(_TERM.fullmatch(term) for term in (*terms, right)):
        yield f"attribute 'equation' is '{given}', which is no equation"
    elif len(terms) != inputs:
        yield f"attribute 'equation' is '{given}': {len(terms)} terms, the node has {inputs} inputs"
    elif arrow and (unknown := sorted({*right} - {*left})):
        yield f"attribute 'equation' is '{given}': no input has the axis '{unknown[0]}'"
    elif arrow and len({*right.replace(".", "")}) < len(right.replace(".", "")):
        yield f"attribute 'equation' is '{given}': the result has an axis twice"


_GATES = {"RNN": 1, "GRU": 2, "LSTM": 3}
_ACTIVATIONS = frozenset(
    """affine elu hardsigmoid leakyrelu relu scaledtanh sigmoid softplus softsign tanh
    thresholdedrelu""".split()
)


def _recurrent(op_type: str, found: Attributes, _: int) -> Iterator[str]:
    """Activations are known, one for each kind of gate and direction; letters' case is free."""
    if "layout" in found and found["layout"].i not in (0, 1):
        yield f"attribute 'layout' is {found['layout'].i}, expected 0 or 1"
    if "activations" not in found:
        return
    names = [word.decode(errors="replace") for word in found["activations"].strings]
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            yield f"attribute 'activations' holds '{name}', which is none that onnx knows"
    is_both = "direction" in found and _text(found["direction"]) == "bidirectional"
    wanted = _GATES[op_type] * (2 if is_both else 1)
    if names and len(names) != wanted:
        yield f"attribute 'activations' holds {len(names)}, the operator takes {wanted}"


def _constant(_: str, found: Attributes, __: int) -> Iterator[str]:
    forms = [name for name in found if name == "sparse_value" or name.startswith("value")]
    if len(forms) > 1:
        yield f"attributes '{forms[0]}' and '{forms[1]}' both give a value"


def _filled(_: str, found: Attributes, __: int) -> Iterator[str]:
    if "value" in found and found["value"].t.data_type == TensorProto.STRING:
        yield "attribute 'value' holds text, the operator takes numbers"


_KERNELS = """AveragePool Conv ConvInteger ConvTranspose DeformConv LpPool MaxPool MaxUnpool
QLinearConv"""

_RULES: Mapping[str, tuple[Rule, ...]] = {
    **dict.fromkeys(_KERNELS.split(), (_spatial,)),
    **dict.fromkeys(_RECURRENT, (_recurrent,)),
    "Transpose": (_order,),
    "Pad": (_padding,),
    "Slice": (_slices,),
    "Split": (_parts,),
    "Einsum": (_equation,),
    "Constant": (_constant,),
    "ConstantOfShape": (_filled,),
}
