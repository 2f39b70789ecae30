"""What is said of a command by name, on the command line or from Python, and what it comes to."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from eapc.classes import parse_classes
from eapc.energy import read_bits
from eapc.errors import UsageError
from eapc.goals import MIXED
from eapc.pipeline import Recipe

_NEAREST = 3


def nearest(name: str, known: Collection[str]) -> str:
    """`did you mean sparsity or pattern?`, or all that is known where nothing is near."""
    begun = [each for each in known if each.startswith(name) or name.startswith(each)]
    found = list(dict.fromkeys([*begun, *get_close_matches(name, known, _NEAREST)]))[:_NEAREST]
    if found:
        return f"did you mean {' or '.join(found)}?"
    return f"there are {', '.join(sorted(known))}"


def recipe_of(given: Mapping[str, Any]) -> Recipe:
    """The recipe of options by the names of its fields; those that are None are left out.

    `bits` are widths, as text too, or `mixed`; `include` and `exclude` one name or several;
    `classes` what `parse_classes` reads. Raises UsageError where they do not go together.
    """
    options = {name: value for name, value in given.items() if value is not None}
    for name in {"include", "exclude"} & options.keys():
        names = options[name]
        options[name] = (names,) if isinstance(names, str) else tuple(names)
    if "classes" in options:
        options["classes"] = parse_classes(options["classes"])
    bits = options.pop("bits", None)
    is_mixed = bits == MIXED
    options["minutes"] = options.get("minutes", math.inf)
    widths = None if bits is None or is_mixed else read_bits(bits, MIXED)
    return Recipe(**options, bits=widths, mixed_bits=is_mixed)


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)


def read_size(text: str) -> int:
    """Bytes of `2GB`, `1.5 GiB` or `800M`: powers of 1000, or of 1024 with an i."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--memory: expected a size such as 2GB, got '{text}'")
    base = 1024 if match[3] else 1000
    size = int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))
    if size == 0:
        raise UsageError(f"--memory: expected a size above 0, such as 2GB, got '{text}'")
    return size
