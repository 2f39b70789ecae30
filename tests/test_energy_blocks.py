"""Blocks are found in names: beginnings of paths that nodes with work share."""

from __future__ import annotations

from eapc.energy import NamedNode, blocks_of


def working(*keys: str) -> list[NamedNode]:
    return [NamedNode(key, "", True) for key in keys]


def test_a_block_is_the_longest_beginning_that_two_working_nodes_share() -> None:
    """`self` has two products, `output` one, so that it counts for the block around both."""
    nodes = working("/l0/att/self/q/MatMul", "/l0/att/self/v/MatMul", "/l0/att/output/MatMul")
    nodes += working("/l1/att/self/q/MatMul", "/l1/att/self/v/MatMul")
    assert list(blocks_of(nodes).values()) == [
        *("l0/att/self", "l0/att/self", "l0/att"),
        *("l1/att/self", "l1/att/self"),
    ]


def test_nodes_without_work_count_for_the_block_around_them() -> None:
    nodes = [*working("/a/a.0/conv1/Conv", "/a/a.0/conv2/Conv", "/fc/Gemm")]
    nodes += [NamedNode("/a/a.0/shortcut/Pad", "", False), NamedNode("/Flatten", "", False)]
    found = blocks_of(nodes)
    assert found["/a/a.0/shortcut/Pad"] == found["/a/a.0/conv1/Conv"] == "a/a.0"
    assert (found["/fc/Gemm"], found["/Flatten"]) == ("fc", "Flatten")


def test_what_is_fused_is_in_the_block_of_its_host() -> None:
    nodes = [*working("/conv1/Conv", "/conv2/Conv"), NamedNode("/bn1/Bn", "/conv1/Conv", False)]
    nodes.append(NamedNode("/Relu", "/bn1/Bn", False))
    found = blocks_of(nodes)
    assert found["/Relu"] == found["/bn1/Bn"] == "conv1"


def test_what_all_names_begin_with_is_no_block() -> None:
    found = blocks_of(working("net/stem/conv", "net/body/a", "net/body/b"))
    assert list(found.values()) == ["net/stem", "net/body", "net/body"]


def test_without_slashes_dots_part_the_elements() -> None:
    nodes = [*working("block.conv1", "block.conv2", "merge"), NamedNode("merge.bn", "", False)]
    assert list(blocks_of(nodes).values()) == ["block", "block", "merge", "merge"]


def test_of_joined_names_the_last_one_is_the_nodes_own() -> None:
    found = blocks_of(working("m/relu;m/dw_1/Conv", "m/relu;m/dw_2/Conv", "m/relu;m/dw_2/Add"))
    assert list(found.values()) == ["m/dw_1", "m/dw_2", "m/dw_2"]


def test_names_without_elements_are_blocks_of_their_own() -> None:
    assert blocks_of(working("17", "18")) == {"17": "17", "18": "18"}
    assert blocks_of(working("/")) == {"/": "/"}
    assert blocks_of([]) == {}


def test_a_circle_of_hosts_ends() -> None:
    nodes = [NamedNode("a", "b", False), NamedNode("b", "a", False), NamedNode("c", "gone", False)]
    assert blocks_of(nodes) == {"a": "b", "b": "a", "c": "c"}
