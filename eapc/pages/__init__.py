"""Results as pages and charts that open without a network: functions from results to both.

Needs the extra `eapc[report]`; `require_extra` says so before any work starts.
"""

from eapc.pages.chart import Chart
from eapc.pages.extra import require_extra
from eapc.pages.page import Cell, Choice, Drawing, Facts, Page, Part, Section, Table

__all__ = [
    "Cell",
    "Chart",
    "Choice",
    "Drawing",
    "Facts",
    "Page",
    "Part",
    "Section",
    "Table",
    "require_extra",
]
