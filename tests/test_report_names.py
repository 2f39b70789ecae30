"""Names in little room: every one keeps to it, and different names never look the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eapc.report.names import apart, cells, cropped, shorten

RESNET = [f"/layer{a}/layer{a}.{b}/conv{c}/Conv" for a in (1, 2) for b in (0, 1) for c in (1, 2)]
MERGED = [
    f"TFLITE2ONNX_FAF_model/activation_{n}/Relu;model/batch_normalization_{n}/FusedBatchNormV3;"
    f"model/depthwise_conv2d_{n // 2}/BiasAdd/ReadVariableOp/resource1"
    for n in range(1, 20, 2)
]


def shown(names: list[str], width: int) -> list[str]:
    return list(apart(names, width).values())


def test_names_that_fit_are_whole() -> None:
    assert shown(RESNET, 40) == RESNET


def test_what_names_have_in_common_goes_first() -> None:
    """17 columns: 10 of the end are the same of the first two, as are 11; 12 are not."""
    assert shown([RESNET[0], RESNET[2], RESNET[1]], 17) == [
        "/lay…0/conv1/Conv",
        "/lay…1/conv1/Conv",
        "/layer…conv2/Conv",
    ]


def test_alone_a_name_is_cut_as_ever() -> None:
    assert shown(RESNET[:1], 17) == ["/layer…conv1/Conv"] == [shorten(RESNET[0], 17)]


def test_elements_that_differ_are_shown_where_no_cut_tells_names_apart() -> None:
    """Of 20 columns 2 are marks: 6 for the end, 12 for the element."""
    found = shown(MERGED[2:4], 20)
    assert found == ["…ise_conv2d_2…ource1", "…ise_conv2d_3…ource1"]


def test_two_elements_are_shown_where_it_takes_both() -> None:
    names = [f"/m/l.{a}/attention/h.{b}/projection/out/MatMul" for a in range(9) for b in range(9)]
    assert shown(names, 18)[40] == "…l.4…h.4…ut/MatMul"


@pytest.mark.parametrize("width", [12, 18, 30, 60])
def test_many_names_alike_stay_apart(width: int) -> None:
    names = [f"/m/l.{a}/attention/h.{b}/projection/out/MatMul" for a in range(20) for b in range(9)]
    found = shown(names + MERGED + RESNET, width)
    assert len(set(found)) == len(found) == len(names) + len(MERGED) + len(RESNET)
    assert max(map(cells, found)) <= width


def test_names_without_a_path_are_numbered() -> None:
    names = [f"{'a' * 40}{x}{'b' * 40}" for x in "xyz"]
    first, second, third = shown(names, 12)
    assert len({first, second, third}) == 3
    assert (second[-2:], third[-2:]) == ("~2", "~3")


def test_names_that_differ_in_what_cannot_be_printed_stay_apart() -> None:
    assert shown(["a\x1bb", "a\x07b"], 12) == ["a\ufffdb", "a\ufffdb~2"]


def test_wide_characters_take_two_columns() -> None:
    names = ["畳み込み層の重み一", "畳み込み層の重み二"]
    found = shown(names, 12)
    assert [cells(text) for text in found] == [11, 11]
    assert found[0][-1] == "一"
    assert cropped("畳み込み", 5) == "畳み…"


@given(
    st.lists(st.text(st.sampled_from("ab1/.;é畳\x1b"), max_size=30), unique=True, max_size=12),
    st.integers(12, 20),
    st.sampled_from(["middle", "end"]),
)
def test_any_names_stay_apart(names: list[str], width: int, cut: object) -> None:
    found = apart(names, width, "end" if cut == "end" else "middle")
    assert list(found) != [] or not names
    assert set(found) == set(names)
    assert len(set(found.values())) == len(names)
    assert all(cells(text) <= width and text.isprintable() for text in found.values())
