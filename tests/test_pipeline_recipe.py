"""Recipes: the options of pruning, as the text of a pipeline has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eapc.errors import UsageError
from eapc.pipeline import Pipeline, Recipe

RECIPES = [
    (Recipe(), "prune-weights{energy=0.5}, reconstruct-outputs"),
    (
        Recipe(method="eap", pattern="block:2x4", order="uniform"),
        "prune-weights{energy=0.5, pattern=block:2x4, order=uniform}, "
        "reconstruct-outputs{method=eap, pattern=block:2x4}",
    ),
    (
        Recipe(thorough=True, include=("conv1", "block3/*"), exclude=("Gemm",)),
        "prune-weights{energy=0.5, include=conv1|block3/*, exclude=Gemm}, "
        "reconstruct-outputs{thorough=True}",
    ),
    (
        Recipe(include=("a,b", "{c}|d e")),
        "prune-weights{energy=0.5, include=a?b|?c??d?e}, reconstruct-outputs",
    ),
    (
        Recipe(structured=True, criterion="l1", exclude=("stem",)),
        "prune-channels{energy=0.5, criterion=l1, exclude=stem}, "
        "reconstruct-outputs{keep_mask=True}, shrink-channels{near_dead=True}",
    ),
    (
        Recipe(structured=True, zeros=True, pattern="block:2x4", include=("conv*",)),
        "prune-channels{energy=0.5, include=conv*, zeros=True}, "
        "reconstruct-outputs{keep_mask=True}, "
        "shrink-channels{near_dead=True}, annotate-energy, "
        "prune-weights{energy=1.0, pattern=block:2x4, include=conv*}, "
        "reconstruct-outputs{pattern=block:2x4}",
    ),
]


@pytest.mark.parametrize(("recipe", "text"), RECIPES)
def test_a_recipe_is_typed_and_read_again(recipe: Recipe, text: str) -> None:
    pipeline = recipe.pipeline({"energy": 0.5})
    assert str(pipeline) == f"annotate-energy, {text}, annotate-energy"
    assert Pipeline.parse(str(pipeline), recipe.passes) == pipeline


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe(include=("conv1",)), "zeros=True, include=conv1"),
        (Recipe(structured=True, criterion="l1"), "structured=True, criterion=l1"),
        (Recipe(structured=True, zeros=True), "structured=True, zeros=True"),
    ],
)
def test_widths_are_chosen_with_what_goes_behind(recipe: Recipe, text: str) -> None:
    pipeline = Pipeline(replace(recipe, mixed_bits=True).settling(0.3))
    assert str(pipeline) == f"choose-widths{{energy=0.3, {text}}}, annotate-energy"
    assert Pipeline.parse(str(pipeline), recipe.passes) == pipeline


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(method="best"), "unknown method 'best'; choose from admm"),
        (Recipe(method="eap", thorough=True), "method eap knows no thorough"),
        (Recipe(pattern="2by4"), "unknown pattern '2by4'"),
        (Recipe(pattern="2:4"), "pattern 2:4 fixes the share of zeros"),
        (Recipe(order="any"), "unknown order 'any'; choose from shared, energy, uniform"),
    ],
)
def test_options_that_do_not_go_together(recipe: Recipe, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe.pipeline({"energy": 0.5})


def test_latency_is_a_budget_of_channels() -> None:
    recipe = Recipe(structured=True, objective="latency")
    assert recipe.budget(0.5) == {"latency": 0.5}
    assert "prune-channels{latency=0.5}" in str(recipe.pipeline(recipe.budget(0.5)))


def test_budgets_are_typed() -> None:
    exact = Recipe().pipeline(Recipe().budget(0.1 + 0.2))
    assert "prune-weights{energy=0.30000000000000004}" in str(exact)
    tail = Recipe().pipeline(Recipe().budget(0.5, tail=0.001))
    assert "prune-weights{energy=0.5, late=0.001}" in str(tail)


def test_even_shares_are_of_weights_or_of_channels() -> None:
    assert Recipe().evenly(0.5) == {"sparsity": 0.5}
    assert Recipe(structured=True).evenly(0.5) == {"fraction": 0.5}
    with pytest.raises(UsageError, match="with channels and zeros there are two"):
        Recipe(structured=True, zeros=True).evenly(0.5)


def test_inputs_are_held_out_before_all_else() -> None:
    recipe = Recipe(structured=True, zeros=True)
    text = str(recipe.pipeline({"energy": 0.8}, 0.2))
    assert text.startswith("hold-out-inputs, annotate-energy, prune-channels{energy=0.8")
    assert text.count("annotate-energy") == 3
    assert recipe.zeroing() == Recipe()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"zeros": True}, "--zeros come on top of channels"),
        ({"objective": "area"}, "unknown objective 'area'; choose from energy, latency"),
        ({"objective": "latency"}, "latency takes --structured without --zeros"),
        ({"objective": "latency", "structured": True, "zeros": True}, "without --zeros"),
        ({"structured": True, "pattern": "2:4"}, "--pattern is one of zeros"),
    ],
)
def test_recipes_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe(**options)


def test_an_unknown_criterion() -> None:
    with pytest.raises(UsageError, match="unknown criterion 'best'; choose from obs"):
        Recipe(structured=True, criterion="best").pipeline({"energy": 0.5})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "2:4"}, "--pattern is one of zeros"),
        ({"method": "eap"}, "--method is one of zeros"),
        ({"thorough": True}, "--thorough is one of zeros"),
        ({"order": "uniform"}, "--order is one of zeros"),
    ],
)
def test_options_of_zeros_are_refused_where_channels_alone_go(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe(structured=True, **options)


def test_each_stage_of_both_takes_its_own_options() -> None:
    both = Recipe(structured=True, zeros=True, criterion="l1", pattern="block:2x4", order="uniform")
    assert both.removing() == Recipe(structured=True, criterion="l1")
    assert both.zeroing() == Recipe(pattern="block:2x4", order="uniform")
