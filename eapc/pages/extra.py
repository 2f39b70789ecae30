"""What pages and charts need beside the core, and what to say where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from eapc.errors import UsageError

_LIBRARIES = {"jinja2": "jinja2", "vl_convert": "vl-convert-python", "igraph": "igraph"}
"""Packages by the module that is imported."""


def require_extra(option: str) -> None:
    """Raise UsageError where the extra is not installed; `option` is what asks for it."""
    missing = [package for module, package in _LIBRARIES.items() if find_spec(module) is None]
    if missing:
        names = ", ".join(missing)
        raise UsageError(f"{option}: needs {names}, not installed: pip install 'eapc[report]'")
