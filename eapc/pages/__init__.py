"""Results as pages and charts that open without a network: functions from results to both.

Needs the extra `eapc[report]`; `require_extra` says so before any work starts.
"""

from eapc.pages.chart import Chart
from eapc.pages.extra import require_extra
from eapc.pages.page import Drawing, Entry, Facts, Page, PageSection, Part, Sheet, Switch

__all__ = [
    "Chart",
    "Drawing",
    "Entry",
    "Facts",
    "Page",
    "PageSection",
    "Part",
    "Sheet",
    "Switch",
    "require_extra",
]
