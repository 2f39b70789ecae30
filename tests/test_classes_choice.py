"""Which classes are kept: numbers, names and files of them, and what a file tells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import loaded, normal, op

from eapc.classes import (
    ClassMap,
    choose,
    class_map,
    keep_classes,
    known_classes,
    names_told,
    parse_classes,
)
from eapc.classes.choice import KnownClasses
from eapc.errors import ModelError, UsageError
from eapc.model import Model

TEN = KnownClasses(10)
ANIMALS = ("cat", "dog", "tench, Tinca tinca", "7")
NAMED = KnownClasses(4, names=ANIMALS)


def network(scores: int = 4, **metadata: str) -> Model:
    tensors = {"w": normal((3, scores))}
    model = loaded([op("Gemm", "x w", "y")], {"x": ("N", 3)}, ["y"], tensors)
    for key, value in metadata.items():
        model.view.proto.metadata_props.add(key=key.replace("__", "."), value=value)
    return model


def test_a_list_and_a_file_of_lines_or_commas_come_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    for text in ("3,7, 1", "3\n7\n\n1\n", "3,7\n1"):
        path.write_text(text)
        for given in (text, str(path), path):
            if given is text and "\n" in text:
                continue
            assert choose(parse_classes(given), TEN).classes == (3, 7, 1)
    assert choose(parse_classes([3, "7", 1]), TEN).classes == (3, 7, 1)


def test_names_are_those_of_the_file_and_may_hold_commas() -> None:
    chosen = choose(("tench, Tinca tinca", "dog,0"), NAMED)
    assert chosen == ClassMap((2, 1, 0), ("tench, Tinca tinca", "dog", "cat"))


def test_numpy_counts_as_well() -> None:
    assert choose(parse_classes(list(np.arange(3))), TEN).classes == (0, 1, 2)


def test_of_two_classes_with_one_name_each_keeps_it() -> None:
    known = KnownClasses(3, names=("cat", "crane", "crane"))
    assert choose(("1,2",), known) == ClassMap((1, 2), ("crane", "crane"))


def test_digits_are_a_number_and_never_a_name() -> None:
    with pytest.raises(UsageError, match="no class '7'"):
        choose(("7", "0"), NAMED)
    assert choose(("3", "0"), NAMED) == ClassMap((3, 0), ("7", "cat"))


@pytest.mark.parametrize(
    ("entries", "known", "said"),
    [
        (("3,12",), TEN, "no class '12': the network tells 0 to 9, and nothing tells their names"),
        (("3,-1",), TEN, "no class '-1'"),
        (("3,cat",), TEN, "no class 'cat'"),
        (("0,cow",), NAMED, "no class 'cow': the network tells 0 to 3$"),
        (("3,5,3",), TEN, "class 3 is given twice"),
        (("cat,0",), NAMED, "class 0 is given twice"),
        (
            ("crane,0",),
            KnownClasses(3, names=("cat", "crane", "crane")),
            "several classes are called 'crane': give the number",
        ),
        (("3",), TEN, "one class answers nothing: give two or more"),
        (
            ("3,4",),
            KnownClasses(2, ClassMap((3, 5))),
            "no class '4': the network was cut to 3, 5, and",
        ),
    ],
)
def test_what_cannot_be_kept_is_said(
    entries: tuple[str, ...], known: KnownClasses, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choose(entries, known)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "no class in ''"),
        ([], r"no class in '\[\]'"),
        ("none/of.txt", "none/of.txt: no such file"),
        (Path("none"), "none: no such file"),
        ([1.5, True], "expected numbers or names"),
    ],
)
def test_what_is_no_list_is_said(given: object, said: str) -> None:
    with pytest.raises(UsageError, match=f"--classes: {said}"):
        parse_classes(given)  # type: ignore[arg-type]


def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        parse_classes(path)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ANIMALS),
        "{0: 'cat', 1: 'dog', 2: 'tench, Tinca tinca', 3: '7'}",
        json.dumps(dict(enumerate(ANIMALS))),
    ],
)
def test_names_are_read_as_exporters_write_them(text: str) -> None:
    assert names_told(network(names=text)) == ANIMALS


@pytest.mark.parametrize("text", ["cat, dog", "{0: 'cat', 2: 'dog'}", "[1, 2]", "(", ""])
def test_other_metadata_name_nothing(text: str) -> None:
    assert names_told(network(names=text)) == ()


def test_names_that_are_not_as_many_as_the_scores_are_none() -> None:
    with pytest.raises(UsageError, match="nothing tells their names"):
        choose(("cat,dog",), known_classes(network(names='["cat", "dog"]')))


def test_a_cut_network_is_cut_by_the_uncut_ones_numbers() -> None:
    model = network(names=json.dumps(ANIMALS))
    first = choose(("3,1,0",), known_classes(model))
    cut = keep_classes(model, first.classes, first)
    assert class_map(cut) == ClassMap((3, 1, 0), ("7", "dog", "cat"))
    again = choose(("cat", "3"), known_classes(cut))
    assert again == ClassMap((0, 3), ("cat", "7"))
    assert class_map(cut) is not None
    assert ClassMap((3, 1, 0)).positions((0, 3)) == (2, 0)


@pytest.mark.parametrize("text", ["", "3,cat", "3,3", "3;4"])
def test_a_map_that_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"metadata eapc.classes: expected class numbers"):
        class_map(network(eapc__classes=text))


def test_a_map_of_another_length_is_refused() -> None:
    with pytest.raises(ModelError, match=r"metadata eapc.classes list 2 classes, and it has 4"):
        known_classes(network(eapc__classes="3,4"))


def test_a_network_that_was_not_cut_has_no_map() -> None:
    assert class_map(network()) is None
