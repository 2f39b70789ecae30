"""The trade-off of a sweep: who is on the front, and how it is shown."""

from __future__ import annotations

from eapc.pages.pareto_chart import Offer, Quality, front_of, labelled, pareto_chart

SHARE = Quality("top-1 accuracy")
ERROR = Quality("relative output error", more_is_better=False, is_share=False)
OFFERS = [
    Offer("0.9", 0.9, 0.971),
    Offer("0.8", 0.8, 0.969),
    Offer("0.7", 0.7, 0.972),
    Offer("0.6", 0.6, 0.95, is_met=False),
]


def names(offers: list[Offer]) -> list[str]:
    return [offer.name for offer in offers]


def test_the_front_has_what_no_other_network_beats() -> None:
    assert names(front_of(OFFERS, SHARE)) == ["0.6", "0.7"]


def test_of_an_error_less_is_better() -> None:
    # 0.6 costs least and 0.8 has a larger error than it; 0.9's is larger yet
    errors = [Offer("0.9", 0.9, 0.3), Offer("0.8", 0.8, 0.2), Offer("0.6", 0.6, 0.1)]
    assert names(front_of(errors, ERROR)) == ["0.6"]
    assert names(front_of([*errors, Offer("1", 1.0, 0.0)], ERROR)) == ["0.6", "1"]


def test_of_equal_networks_the_first_is_on_the_front() -> None:
    assert names(front_of([Offer("a", 0.5, 0.9), Offer("b", 0.5, 0.9)], SHARE)) == ["a"]


def test_labels_of_the_front_come_first() -> None:
    # the costs span 1: 0.55 is nearer than 0.12 to 0.5, and as good; 0.9 is far from both
    near = [Offer("a", 0.5, 0.9), Offer("b", 0.55, 0.9), Offer("c", 0.9, 0.9), Offer("", 1.5, 0.9)]
    assert names(labelled(near, [near[1]])) == ["b", "c"]


def test_every_network_is_a_point_with_its_kind() -> None:
    dense = Offer("", 1.0, 0.974, "dense network", is_dense=True)
    chart = pareto_chart([*OFFERS, dense], SHARE)
    points = chart.spec["layer"][1]["data"]["values"]
    kinds = ["other", "other", "Pareto front", "Pareto front, not met", "dense network"]
    assert [point["kind"] for point in points] == kinds
    assert [point["x"] for point in points] == [0.9, 0.8, 0.7, 0.6, 1.0]


def test_ticks_have_the_decimals_that_tell_them_apart() -> None:
    # 0.7 over 8 ticks is 8.75 points, 0.002 is 0.025 points
    assert axis([0.3, 1.0])["x"]["axis"]["format"] == ".0%"
    assert axis([0.298, 0.3])["x"]["axis"]["format"] == ".2%"


def axis(costs: list[float]) -> dict[str, dict[str, dict[str, str]]]:
    offers = [Offer(str(cost), cost, cost) for cost in costs]
    encoding: dict[str, dict[str, dict[str, str]]]
    encoding = pareto_chart(offers, SHARE).spec["layer"][1]["encoding"]
    return encoding
