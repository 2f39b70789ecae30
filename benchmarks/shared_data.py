"""Where benchmarks find models and data that the project does not ship."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """The folder that EAPC_DATA names, by default `../shared` beside the project.

    Ends the program with a reason where it is absent.
    """
    folder = Path(os.environ.get("EAPC_DATA", ROOT.parent / "shared"))
    if not folder.is_dir():
        sys.exit(f"skipped: no folder {folder}; set EAPC_DATA to one with models/ and data/")
    return folder
