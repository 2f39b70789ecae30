"""What widths leave of a node's energy, by the real energy model.

A node depends on the density of its weights and on the widths of those, of its ifmap and of its
ofmap. At a few densities it is priced with every pair of widths of what it reads, since a MAC's
energy goes with both, but with those of what it writes alone, all else at its widest: that
traffic is its own. So the fraction that widths leave is known at these densities, and taken to
be linear between them. What this leaves out: a machine may map a layer otherwise when several
widths change at once, and with fewer channels the fractions may be others.
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

_POINTS = DENSITIES[::2]
"""Densities that widths are priced at: what they leave changes little between these."""

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

        `item` has the node's cost at the widest, scaled by the density of its weights if that is
        decided upon.
        """
        sites = self._sites_of(node)
        if not sites:
            return [item]
        densities = _POINTS if item.scaled_by else (1.0,)
        widest = self._energies(node, densities, ())
        together, alone = sites[:_TOGETHER], sites[_TOGETHER:]
        parts = [
            _scaled(item, together, _fractions(self._energies(node, densities, together), widest))
        ]
        for site in alone:
            fractions = _fractions(self._energies(node, densities, (site,)), widest)
            parts.append(_scaled(item, (site,), fractions - 1))
        return parts

    def _sites_of(self, node: str) -> list[WidthSite]:
        """Those of what a node reads, then of what it writes; none of one that moves nothing."""
        work = self.works.get(node)
        moves = work is not None and node in self.report.by_node and not work.fused_into
        names = operand_tensors(work) if work is not None and moves else ()
        found = [site for name in names for site in self.sites if name in site.tensors]
        return list({site.place: site for site in found}.values())

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


def _fractions(energies: NDArray[np.float64], widest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies (densities, ...) over those at the widest widths; 1 of what costs nothing."""
    whole = widest.reshape(-1, *(1 for _ in energies.shape[1:]))
    return np.divide(energies, whole, out=np.ones_like(energies), where=whole > 0)


def _scaled(
    item: JointItem, sites: Sequence[WidthSite], fractions: NDArray[np.float64]
) -> JointItem:
    """The item times fractions (densities, ...) that the sites' widths leave."""
    places = (*item.scaled_by, *(site.place for site in sites))
    if not item.scaled_by:
        return replace(item, scaled_by=places, factors=fractions[0])
    by_density = item.factors.reshape(-1, *(1 for _ in sites))
    return replace(item, scaled_by=places, factors=by_density * _on_grid(fractions))


def _on_grid(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """A table (densities, ...) at every density of `GRID`, linear between the points."""
    shares = [np.interp(GRID, _POINTS[::-1], point[::-1]) for point in np.eye(len(_POINTS))]
    return np.tensordot(np.array(shares).T, table, axes=1)
