"""The page of a sweep: what a sweep of the digits network shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eapc.commands.preparation import Settings
from eapc.commands.sweep import Swept, sweep
from eapc.goals import Joint, MaxDrop, Sparsity, TargetEnergy
from eapc.hardware import HardwareModel
from eapc.pages.sweep_page import goal_table, offers_of, qualities_of, sweep_chart, sweep_page


@pytest.fixture(scope="module")
def swept(digits: Path, eyeriss: HardwareModel) -> Swept:
    """Two sparsities, without labelled inputs."""
    data = digits.with_name("digits_calibration.npz")
    settings = Settings(hardware=eyeriss, calibration=data)
    return sweep(digits, settings, goals=[Sparsity(0.3), Sparsity(0.6)])


def test_each_goal_is_a_point_and_the_dense_network_one_more(swept: Swept) -> None:
    (quality,) = qualities_of(swept.rows)
    assert quality.name == "top-1 agreement"
    offers = offers_of(swept.rows, quality, "energy")
    assert [offer.name for offer in offers] == ["0.3", "0.6", ""]
    assert offers[0].cost == swept.rows[0].energy_ratio
    assert (offers[2].cost, offers[2].quality, offers[2].is_dense) == (1.0, 1.0, True)


def test_a_joint_goal_is_called_by_both_values(swept: Swept) -> None:
    joint = Joint(TargetEnergy(0.7), MaxDrop(0.01))
    rows = [replace(swept.rows[0], goal=joint), *swept.rows[1:]]
    (quality,) = qualities_of(rows)
    assert [offer.name for offer in offers_of(rows, quality, "energy")] == ["0.7 / 0.01", "0.6", ""]


def test_the_picture_is_the_trade_off(swept: Swept) -> None:
    assert sweep_chart(swept).title == "top-1 agreement against energy"


def test_the_table_says_who_is_on_the_front(swept: Swept) -> None:
    table = goal_table(swept.rows)
    assert table.columns[-1] == "on the front"
    # of two networks the cheaper one always is
    assert table.rows[1][-1].text == "yes"


def test_the_page_has_its_sections(swept: Swept) -> None:
    page = sweep_page(swept, ["a warning"])
    titles = [section.title for section in page.sections]
    assert titles == ["The trade-off", "Every goal", "Layer by layer"]
    assert list(page.facts)[-1] == ("warning", "a warning")
