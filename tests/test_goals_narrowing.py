"""Goals of networks that are quantized: budgets, searches, dry runs and reports are the file's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from goal_builders import RECIPE, labelled, start, varied
from pruning_builders import NETS
from structured_builders import bytes_of
from test_profiling_latency import MODEL, machine

from eapc.allocation import Plan, Predicted
from eapc.cli import main
from eapc.commands import planning
from eapc.commands.preparation import Settings
from eapc.data import load_data
from eapc.energy import GivenBits
from eapc.errors import PassError, UsageError
from eapc.evaluation import AgreementJudge
from eapc.goals import (
    Budget,
    Densities,
    Goal,
    MaxDrop,
    MinAgreement,
    Pruned,
    Sparsity,
    TargetEnergy,
    TargetLatency,
    Trials,
    Width,
)
from eapc.goals.narrowing import Narrowed
from eapc.goals.search import budgets_between
from eapc.model import Model, infer_shapes
from eapc.pipeline import Compilation, Pass, Pipeline, Recipe
from eapc.quantization import widths_to_write
from eapc.runtime import collect_outputs

MODELS = Path(__file__).parents[1] / "models"
DIGITS = [str(MODELS / "digits.onnx"), "--calib", str(MODELS / "digits_calibration.npz")]
FEW = [*DIGITS, "--samples", "64", "--threads", "1", "--bits", "8"]

RECIPES = {
    "zeros": Recipe(RECIPE.passes, bits=GivenBits(8, 8)),
    "channels": Recipe(RECIPE.passes, structured=True, bits=GivenBits(8, 8)),
    "both": Recipe(RECIPE.passes, structured=True, zeros=True, bits=GivenBits(8, 8)),
}
MIXED = {
    f"mixed {name}": replace(recipe, bits=None, mixed_bits=True) for name, recipe in RECIPES.items()
}


@cache
def reached(recipe: str, goal: Goal) -> Pruned:
    """The outcome of a goal on the residual network, worked out once."""
    net = varied()
    return goal.pursue(Trials(start(net), {**RECIPES, **MIXED}[recipe], labelled(net)))


def code_types(pruned: Pruned) -> set[str]:
    """Types of what stands for weights in the file; channels may leave no others."""
    constants = pruned.model.constants
    return {str(constants[f"{name}@codes"].dtype) for name in ("w0", "fw")}


# --- budgets, by hand ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """A plan that loses the share that goes, and a pruner that notes what it is asked for."""

    asked: list[Budget]
    dense: Compilation
    lowest_ratio: float = 0.2
    can_correct: bool = True
    highest: float = 1.0

    @property
    def plan(self) -> Plan:
        return self

    def predicted(self, budget: Budget | float, tail: float = 0.0) -> Predicted:
        ratio, tail = budget[:2] if isinstance(budget, Budget) else (budget, tail)
        return Predicted(1 - ratio - tail, ratio + tail)

    def at(self, budget: Budget) -> Compilation:
        self.asked.append(budget)
        return self.dense

    def steps(self, budget: Budget) -> tuple[Pass, ...]:
        self.asked.append(budget)
        return ()


def narrowed(
    planned: float, whole: float, recipe: Recipe = RECIPES["zeros"]
) -> tuple[Narrowed, list[Budget], list[str]]:
    """A network whose widths leave these shares of its energy, its inner budgets and passes."""
    dense = RECIPE.annotation().run(start(varied()))
    report, asked, names = dense.priced, list[Budget](), list[str]()

    def scaled(share: float) -> Compilation:
        nodes = tuple(
            replace(node, energy_mac_units=share * node.energy_mac_units) for node in report.nodes
        )
        return replace(dense, energy=replace(report, nodes=nodes))

    def run(steps: Sequence[Pass], _: Compilation) -> Compilation:
        names.extend(step.name for step in steps)
        return scaled(planned if steps[0].name == "set-widths" else whole)

    made = Narrowed(recipe, run, dense, lambda given: _Line(asked, given))
    return made, asked, names


def test_budgets_are_of_the_original_and_handed_on_as_of_the_planned_network() -> None:
    made, asked, names = narrowed(planned=0.5, whole=0.6)
    made.at(Budget(0.35, 0.005, split_like=0.4))
    # 0.1 of the energy is beside the plan: (0.35 - 0.1) / 0.5, 0.005 / 0.5, (0.4 - 0.1) / 0.5
    assert asked == [Budget(0.5, 0.01, split_like=0.6)]
    assert names == ["set-widths", "annotate-energy", *["quantize", "annotate-energy"] * 2]


def test_what_is_promised_is_told_of_the_original() -> None:
    made, _, _ = narrowed(planned=0.5, whole=0.6)
    assert made.predicted(Budget(0.35)).ratio == pytest.approx(0.35)
    assert made.plan.lowest_ratio == pytest.approx(0.2 * 0.5 + 0.1)
    assert made.plan.predicted(0.35).error == pytest.approx(0.5, abs=1e-6)
    assert made.predicted(Budget(0.9)).ratio == pytest.approx(0.6)


@pytest.mark.parametrize(("budget", "prunes"), [(0.5999, True), (0.6, False), (1.0, False)])
def test_nothing_is_pruned_where_quantizing_is_enough(budget: float, prunes: bool) -> None:
    made, asked, _ = narrowed(planned=0.5, whole=0.60004)
    assert made.highest == 0.6
    made.at(Budget(budget))
    assert bool(asked) == prunes


def test_what_quantizing_leaves_is_trained_where_it_is_a_result_and_once() -> None:
    made, _, names = narrowed(0.5, 0.6, replace(RECIPES["zeros"], finetune=True))
    assert made.highest == 0.6
    assert made.plan.lowest_ratio == pytest.approx(0.2)
    assert names == ["set-widths", "annotate-energy", "quantize", "annotate-energy"]
    names.clear()
    assert made.at(Budget(0.6)) is made.at(Budget(1.0))
    assert names == ["fine-tune", "annotate-energy"]
    names.clear()
    made.at(Budget(0.35))
    assert names == ["quantize", "annotate-energy", "fine-tune", "annotate-energy"]
    told = [step.name for step in made.steps(Budget(0.35))]
    assert told == ["set-widths", "annotate-energy", *names]


def test_a_budget_below_all_that_is_left_is_the_least_one() -> None:
    made, asked, _ = narrowed(planned=0.5, whole=0.6)
    made.at(Budget(0.05))
    assert asked[0].ratio == 0.001


def test_searches_end_where_nothing_is_pruned() -> None:
    assert budgets_between(0.1, 0.116) == [0.1, 0.108, 0.116]


# --- widths ---------------------------------------------------------------------------------------


def test_planned_widths_are_those_that_will_be_written() -> None:
    passes = Pipeline.parse("set-widths, annotate-energy", RECIPE.passes)
    report = passes.run(start(varied())).priced.by_node
    bits = {key: report[key].bits for key in ("conv1", "fc")}
    assert [bits["conv1"].weights, bits["conv1"].ifmap, bits["conv1"].ofmap] == [8, 8, 8]
    assert [bits["fc"].weights, bits["fc"].ifmap, bits["fc"].ofmap] == [8, 8, 16]  # a float output


def test_only_what_becomes_integers_has_a_planned_width() -> None:
    model = varied().model
    shapes = infer_shapes(model, {"x": (1, 3, 8, 8)})
    found = widths_to_write(model, shapes, GivenBits(4, 8, (("w1", 2),))).of_tensor
    assert {name: found[name] for name in ("x", "r0", "w0", "w1", "fw")} == {
        "x": 8,
        "r0": 8,
        "w0": 4,
        "w1": 2,
        "fw": 4,
    }
    assert "y" not in found  # the last result stays a float
    assert widths_to_write(model, shapes, GivenBits(weights=4)).of_tensor.keys() == {
        "w0",
        "w1",
        "w2",
        "fw",
    }


def test_planned_widths_end_where_they_are_written() -> None:
    alone = Pipeline.parse("quantize, annotate-energy", RECIPE.passes).run(start(varied()))
    text = "set-widths, quantize, annotate-energy"
    planned = Pipeline.parse(text, RECIPE.passes).run(start(varied()))
    assert planned.priced.energy_mac_units == alone.priced.energy_mac_units


# --- goals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_target_energy_is_the_quantized_files(recipe: str) -> None:
    done = reached(recipe, TargetEnergy(0.5))
    assert done.goal_met
    assert 0.45 < done.energy_ratio <= 0.5
    assert code_types(done) == {"int8"}
    assert done.floor is not None
    assert done.floor < 0.5


def test_zeros_meet_the_budget_closely() -> None:
    assert reached("zeros", TargetEnergy(0.5)).energy_ratio > 0.496


def test_pruning_stops_where_quantizing_alone_is_enough() -> None:
    done = reached("zeros", TargetEnergy(0.9))
    assert done.goal_met
    assert "prune-weights" not in done.pipeline
    assert done.energy_ratio == reached("zeros", Width("8")).energy_ratio


def test_a_budget_out_of_reach_names_who_holds_it() -> None:
    done = reached("zeros", TargetEnergy(0.05))
    assert not done.goal_met
    assert f"the network still takes {done.energy_ratio:.3f} of the energy" in done.reason
    assert done.held.holders
    assert done.energy_ratio == pytest.approx(done.floor, abs=0.06)


@pytest.mark.parametrize("recipe", RECIPES)
def test_max_drop_is_judged_on_the_quantized_network(recipe: str) -> None:
    done = reached(recipe, MaxDrop(0.2))
    decided, other = labelled(varied()).halves()
    assert done.goal_met
    assert code_types(done) == {"int8"}
    assert done.decided == decided.accuracy(done.model)
    assert done.accuracy == other.accuracy(done.model)
    assert done.energy_ratio < reached(recipe, Width("8")).energy_ratio


def test_min_agreement_is_judged_on_the_quantized_network() -> None:
    done = reached("zeros", MinAgreement(0.9))
    assert done.agreement is not None
    assert done.goal_met
    assert done.agreement.is_met
    assert code_types(done) == {"int8"}


def test_a_bound_that_rounding_breaks_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eapc.goals.min_agreement.MAX_OUTPUT_ERROR", 1e-9)
    net = NETS["dense"]()
    done = MinAgreement().pursue(Trials(start(net, synthesised=True), RECIPES["zeros"]))
    assert not done.goal_met
    assert "keeps the outputs: quantized, with nothing pruned, " in done.reason
    assert "prune-weights" not in done.pipeline


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("goal", [TargetEnergy(0.5), TargetEnergy(0.9), MaxDrop(0.2)], ids=str)
def test_the_printed_pipeline_gives_the_file_again(recipe: str, goal: Goal) -> None:
    done = reached(recipe, goal)
    again = Pipeline.parse(done.pipeline, RECIPE.passes).run(start(varied()))
    assert bytes_of(again.model) == bytes_of(done.model)
    assert again.priced.energy_mac_units == done.after.energy_mac_units


def test_fixed_shares_are_quantized_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text("'*': 0.5\n")
    for goal in (Sparsity(0.5), Densities(tmp_path / "half.yaml")):
        done = reached("zeros", goal)
        assert done.pipeline.endswith(
            "reconstruct-outputs, annotate-energy, quantize, annotate-energy"
        )
        assert 0.45 < done.sparsity < 0.55


def test_repair_comes_before_quantizing() -> None:
    recipe = replace(RECIPES["zeros"], repair=1)
    done = TargetEnergy(0.5).pursue(Trials(start(varied()), recipe))
    names = [step.name for step in done.steps.passes]
    assert names.index("reconstruct-outputs") < names.index("repair-outputs")
    assert names.index("repair-outputs") < names.index("quantize")
    assert 0.49 < done.energy_ratio <= 0.5


# --- commands -------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_quantized_files_energy() -> None:
    net = NETS["residual"]()
    settings = Settings(calibration=net.data, threads=1)
    planned = planning.plan(net.model, settings, goal=TargetEnergy(0.5), recipe=RECIPES["zeros"])
    assert planned.expected is not None
    assert planned.expected.energy_ratio == pytest.approx(0.5, abs=0.02)
    assert "set-widths, annotate-energy, prune-weights{energy=" in planned.pipeline
    assert planned.pipeline.endswith("quantize, annotate-energy")


def test_mixed_widths_have_no_latency() -> None:
    settings = Settings(hardware=machine(inputs=(16, 32)), threads=1)
    recipe = replace(RECIPES["channels"], bits=None, mixed_bits=True)
    with pytest.raises(UsageError, match=r"^--bits mixed: here holds measured latencies of 8 bits"):
        planning.plan(MODEL, settings, goal=TargetLatency(0.7), recipe=recipe)


def test_mixed_widths_take_a_budget() -> None:
    recipe = replace(RECIPES["zeros"], bits=None, mixed_bits=True)
    with pytest.raises(UsageError, match=r"^--sparsity: --bits mixed shares out an energy budget"):
        planning.plan(
            MODEL, Settings(calibration=varied().data, threads=1), goal=Sparsity(0.7), recipe=recipe
        )


@pytest.mark.parametrize("recipe", MIXED)
def test_mixed_widths_meet_a_budget(recipe: str) -> None:
    """And the printed pipeline gives the same file."""
    done = reached(recipe, TargetEnergy(0.25))
    assert done.goal_met
    assert 0.22 < done.energy_ratio <= 0.25
    assert "choose-widths{energy=" in done.pipeline
    assert done.pipeline.endswith("quantize, annotate-energy")
    priced = done.compilation.priced
    layers = [node.bits for node in priced.nodes if node.macs]
    widths = {bits or 16 for each in layers for bits in (each.weights, each.ifmap)}
    assert max(widths) <= 8
    assert len(widths) > 1
    again = Pipeline.parse(done.pipeline, RECIPE.passes).run(start(varied()))
    assert bytes_of(again.model) == bytes_of(done.model)


def test_mixed_widths_are_the_widest_where_these_are_enough() -> None:
    done = reached("mixed zeros", TargetEnergy(0.9))
    assert done.energy_ratio == reached("zeros", TargetEnergy(0.9)).energy_ratio


def test_mixed_widths_lose_less_than_one_width() -> None:
    """The same energy, by the error on what was kept out of the fit."""
    mixed, eight = (reached(name, TargetEnergy(0.2)) for name in ("mixed zeros", "zeros"))
    assert mixed.goal_met
    judge = AgreementJudge.on_few(varied().model, varied().data, 1)
    assert judge.divergence(mixed.model) < judge.divergence(eight.model)


def test_mixed_widths_are_searched_for_a_bound() -> None:
    done = reached("mixed zeros", MaxDrop(0.2))
    assert done.goal_met
    assert done.energy_ratio < reached("zeros", MaxDrop(0.2)).energy_ratio


def test_what_cannot_be_quantized_is_refused_before_it_is_pruned() -> None:
    net = NETS["residual"]()
    passes = Pipeline.parse("quantize", RECIPE.passes)
    done = passes.run(start(net))
    with pytest.raises(PassError, match="is quantized already"):
        TargetEnergy(0.5).pursue(Trials(done, RECIPES["zeros"]))


def test_reports_name_the_widths(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = [*FEW, "--sparsity", "0.5", "-o", str(tmp_path / "out.onnx")]
    assert main(["prune", *options]) == 0
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "bits of weights 16 8" in rows
    assert "bits of activations 16 8" in rows
    assert main(["prune", *options, "--force", "--json"]) == 0
    bits = json.loads(capsys.readouterr().out)["bits"]
    assert bits["before"] == {"weights": [16], "activations": [16]}
    assert bits["after"] == {"weights": [8], "activations": [8]}
    assert main(["prune", *options, "--force", "--dry-run"]) == 0
    assert "bits of weights" in (shown := capsys.readouterr().out)
    assert "16 -> 8" in shown
    assert main(["prune", *FEW, "--dry-run"]) == 0
    assert "nothing is pruned" in capsys.readouterr().out


def test_what_is_cut_to_few_classes_is_quantized_and_can_be_cut_again(tmp_path: Path) -> None:
    out, again = tmp_path / "out.onnx", tmp_path / "again.onnx"
    fewer = ["--classes", "7,1,4", "--sparsity", "0.5"]
    assert main(["prune", *FEW, *fewer, "-o", str(out)]) == 0
    cut = Model.load(out)
    assert "QuantizeLinear" in {node.op_type for node in cut.nodes}
    floats = [*DIGITS, "--samples", "64", "--threads", "1"]
    both = ["--classes", "4,7", "--sparsity", "0.1", "-o", str(again)]
    assert main(["prune", str(out), *floats[1:], *both]) == 0
    found = Model.load(again)
    data = load_data(Path(DIGITS[2]), cut.inputs).first(50)
    three, two = (next(iter(collect_outputs(each, data, 1).values())) for each in (cut, found))
    assert (three.shape[1], two.shape[1]) == (3, 2)
    same = three[:, [2, 0]].argmax(axis=1) == two.argmax(axis=1)
    assert same.mean() >= 0.9


def test_a_sweep_quantizes_every_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    options = ["--target-energy", "0.7,0.3", "--csv", str(table)]
    assert main(["sweep", *FEW, *options, "--json", "-o", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bits"]["weights"] == [16]
    high, low = document["rows"]
    assert high["energy_ratio"] == pytest.approx(0.53, abs=0.01)  # 8 bits, nothing pruned
    assert 0.29 <= low["energy_ratio"] <= 0.3
    assert [row["bits"]["activations"] for row in (high, low)] == [[8], [8]]
    assert all("onnxruntime fuses" in row["notes"][-1] for row in (high, low))
    assert [line.split(",")[6:8] for line in table.read_text().splitlines()[1:]] == [["8", "8"]] * 2
    assert len(list(tmp_path.glob("digits.target-energy-*.onnx"))) == 2


def test_a_classifier_is_cut_then_quantized(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    classes = ["--classes", "1,3,7", "--target-energy", "0.3", "-o", str(output)]
    assert main(["prune", *FEW, *classes]) == 0
    assert Model.load(output).constants["classifier.weight@codes"].shape[0] == 3
