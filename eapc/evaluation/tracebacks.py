"""Where a function of the user's own went wrong, on one line."""

from __future__ import annotations

import traceback
from pathlib import Path


def where_raised(error: BaseException, file: str = "") -> str:
    """`map.py:12: KeyError: 'boxes'`: the last line of a file that an error has passed through.

    By default that is the file of the function that the caller of this has called.
    """
    kind, said = type(error).__name__, " ".join(str(error).split())
    what = f"{kind}: {said}" if said else kind
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{Path(error.filename).name}:{error.lineno}: {kind}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    file = file or (frames[1].filename if len(frames) > 1 else "")
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == file), None)
    return what if line is None else f"{Path(file).name}:{line}: {what}"
