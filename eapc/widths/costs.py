"""What a node's widths and density leave of its energy, by the real energy model.

A node depends on the density of its weights and on the widths of those, of its ifmap and of its
ofmap. Every density of an error curve is priced with every pair of widths of what is read, since
a MAC's energy goes with both, but the width of what is written alone, all else at its widest:
its traffic is its own. What that leaves out is that a machine may map a layer otherwise when
several change at once. Between densities energies are linear. With fewer channels the same
fractions are left of what the node costs then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from eapc.allocation import GRID, JointItem
from eapc.calibration import DENSITIES
from eapc.energy import EnergyReport, NodeWork, operand_tensors, priced_at, with_bits

_TOGETHER = 2
"""Sites whose widths are priced with each other's."""


@dataclass(frozen=True)
class WidthSite:
    """A decision on a width: its place among all sites, the tensors that get it, the options."""

    place: int
    tensors: frozenset[str]
    widths: tuple[int, ...]


@dataclass(frozen=True)
class WidthCosts:
    """Prices of nodes at other widths; works and report are those at the widest ones."""

    works: Mapping[str, NodeWork]
    report: EnergyReport
    sites: Sequence[WidthSite]

    def items(self, node: str, item: JointItem) -> list[JointItem]:
        """A node's item, split by the widths that it depends on; the parts add up to its cost.

        `item` has the node's price at the widest, and the site of its density in `scaled_by`, if
        that is one.
        """
        sites, whole = self._sites_of(node), self._whole(node)
        if not sites or not whole:
            return [item]
        densities = DENSITIES if item.scaled_by else (1.0,)
        together, alone = sites[:_TOGETHER], sites[_TOGETHER:]
        tables = [self._energies(node, densities, together)]
        widest = self._energies(node, densities, ())
        tables += [self._energies(node, densities, (site,)) - widest[:, None] for site in alone]
        return [
            replace(
                item,
                scaled_by=(*item.scaled_by, *(site.place for site in own)),
                factors=_on_grid(table) / whole if item.scaled_by else table[0] / whole,
            )
            for table, own in zip(tables, (together, *((site,) for site in alone)), strict=True)
        ]

    def _sites_of(self, node: str) -> list[WidthSite]:
        """Those of what a node reads, then of what it writes; none of one that moves nothing."""
        work = self.works.get(node)
        names = () if work is None or work.fused_into else operand_tensors(work)
        found = [site for name in names for site in self.sites if name in site.tensors]
        return list({site.place: site for site in found}.values())

    def _whole(self, node: str) -> float:
        priced = self.report.by_node.get(node)
        return 0.0 if priced is None else priced.energy_mac_units

    def _energies(
        self, node: str, densities: Sequence[float], sites: Sequence[WidthSite]
    ) -> NDArray[np.float64]:
        """Energies (densities, widths of each site), all other widths at the widest."""
        work, hardware = self.works[node], self.report.hardware
        found = []
        for widths in product(*(site.widths for site in sites)):
            chosen = list(zip(sites, widths, strict=True))
            bits = {name: width for site, width in chosen for name in site.tensors}
            narrow = with_bits(work, bits)
            found.append([priced_at(narrow, hardware, self.report, d) for d in densities])
        return np.array(found).T.reshape(len(densities), *(len(site.widths) for site in sites))


def _on_grid(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """A table (densities, ...) at every density of `GRID`, linear between the points."""
    points = np.eye(len(DENSITIES))
    shares = [np.interp(GRID, DENSITIES[::-1], point[::-1]) for point in points]
    return np.tensordot(np.array(shares).T, table, axes=1)
