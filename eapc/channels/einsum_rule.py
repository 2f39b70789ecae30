"""The axis rule of Einsum: a letter is an axis."""

from __future__ import annotations

from collections.abc import Iterator

from eapc.channels.axis_rules import Effect, LeftWholeError, Site, Tie, axis_rule


@axis_rule("Einsum")
def einsum(site: Site) -> Iterator[Effect]:
    """A letter of the result ties its operands to that; one that is summed away ties the two.

    Letters that one operand alone has, and sums, stay whole. So does everything where letters are
    repeated or left to dots, and where there are more than two operands, or one twice.
    """
    terms, result = _terms(site)
    y = site.output()
    places = [
        (letter, site.input(i), axis)
        for i, term in enumerate(terms)
        for axis, letter in enumerate(term)
    ]
    for axis, letter in enumerate(result):
        yield from (Tie(port, at, y, axis) for one, port, at in places if one == letter)
    if len(terms) == 2:
        for at, letter in enumerate(terms[0]):
            if letter in terms[1] and letter not in result:
                yield Tie(site.input(0), at, site.input(1), terms[1].index(letter))


def _terms(site: Site) -> tuple[list[str], str]:
    """The letters of each operand, and of the result."""
    given = site.node.attribute("equation", "")
    equation = (given.decode() if isinstance(given, bytes) else str(given)).replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    is_plain = arrow and all(len(set(term)) == len(term) for term in (*terms, result))
    if not is_plain or "." in equation:
        raise LeftWholeError("its equation is more than products of axes")
    if len(terms) > 2 or len(set(site.node.inputs)) < len(terms):
        raise LeftWholeError("it multiplies more than two tensors, or one by itself")
    ranks = [site.input(place).rank for place in range(len(terms))]
    if ranks != [len(term) for term in terms] or site.output().rank != len(result):
        raise LeftWholeError("its operands do not fit its equation")
    return terms, result
