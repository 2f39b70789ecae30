"""YAML with line numbers, and validation errors told as `file:line: field: problem; remedy`.

Scalars follow YAML 1.2's core schema (`1e9` is a number, `no` a text, `010` ten), unlike
PyYAML's own constructors; keys given twice, aliases and tags are errors.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from eapc.errors import HardwareError
from eapc.registry import DATAFLOWS, any_of

Path = tuple[Any, ...]

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml's where PyYAML has it: twenty times as fast."""

_TOO_DEEP = "nested too deeply; give a plain mapping"
_LONGEST_INTEGER = 18
_LONGEST_VALUE = 40
_MOST_OTHERS = 5
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_REMEDIES = {
    "_bytes": "give the capacity in bytes",
    "_words": "give the capacity in words of word_bits",
    "_bits": "give the width in bits",
    "_by_bits": "give a table of bit width to energy of one MAC",
    "_pj": "give the energy in picojoules",
    "_mhz": "give the clock in MHz",
    "_mw": "give the power in milliwatts",
    "_ms": "give the time in milliseconds",
    "_mac_units": "give the energy in units of one MAC",
    "_mac_units_per_word": "give the energy of one word's access in units of one MAC",
}
_TAGS: dict[str, Collection[str]] = {"code": ("none", "run-length"), "dataflow": DATAFLOWS}


@dataclass
class Document:
    """A parsed file: nested dicts and tuples, and the line on which each field stands."""

    file: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    _built: set[int] = field(default_factory=set)
    """Nodes that have been met: PyYAML gives an alias the node that it stands for."""

    def line_of(self, path: Path) -> int:
        """Line of a field, or of the nearest mapping around one that is missing."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def located(self, path: Path, problem: str) -> str:
        """`file:line: dotted.field: problem`."""
        name = f"{dotted(path)}: " if path else ""
        return f"{self.file}:{self.line_of(path)}: {name}{problem}"

    def build(self, node: yaml.Node, path: Path) -> Any:
        """The value of a YAML node at a path, whose lines are noted."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _PLAIN_TAGS:
            self._fail(path, f"the tag {node.tag} is not supported; remove it")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._built:
            self._fail(path, "aliases are not supported; write the value out")
        self._built.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return tuple(self.build(item, (*path, i)) for i, item in enumerate(node.value))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fail(path, "a key is no text; give each key a name")
            key = _scalar(key_node)
            first = self.lines.get((*path, key))
            self.lines[*path, key] = key_node.start_mark.line + 1
            if first is not None:
                self._fail((*path, key), f"given twice, first in line {first}; remove one")
            values[key] = self.build(value_node, (*path, key))
        return values

    def _fail(self, path: Path, problem: str) -> NoReturn:
        raise HardwareError(self.located(path, problem))


def dotted(path: Path) -> str:
    """A field's name on one line."""
    return " ".join(".".join(map(str, path)).splitlines())


def parse_document(text: bytes, file: str) -> Document:
    """Parse one YAML document whose top level is a mapping; HardwareError otherwise."""
    document = Document(file)
    try:
        root = yaml.compose(text.decode("utf-8-sig"), Loader=_LOADER)
        if isinstance(root, yaml.MappingNode):
            document.value = document.build(root, ())
            return document
    except UnicodeDecodeError:
        raise HardwareError(f"{file}:1: not a text file; give a YAML file in UTF-8") from None
    except RecursionError:
        raise HardwareError(f"{file}:1: {_TOO_DEEP}") from None
    except yaml.YAMLError as error:
        raise HardwareError(_syntax_problem(file, error)) from None
    problem = "empty" if root is None else "the top level is no mapping"
    raise HardwareError(f"{file}:1: {problem}; start from `eapc hw show eyeriss`")


def _scalar(node: yaml.ScalarNode) -> Any:
    """A value by YAML 1.2's core schema; quoted scalars are texts."""
    text: str = node.value
    if node.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _syntax_problem(file: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, problem = error.problem_mark.line + 1, error.problem
        if "nesting depth" in str(problem):
            return f"{file}:{line}: {_TOO_DEEP}"
        return f"{file}:{line}: not valid YAML: {problem}; correct this line or the one before"
    return f"{file}:1: not valid YAML: a character that text cannot hold; give a text file"


def report_errors(
    error: ValidationError, document: Document, known: Collection[str], advice: str
) -> str:
    """The first error of a validation, in the file's order, and the fields of the others.

    `known` are the schema's keys, from which a misspelt one is guessed; `advice` is the remedy
    where a field's name suggests none.
    """
    found = [(_field_path(details, document), details) for details in error.errors()]
    found.sort(key=lambda item: document.line_of(item[0]))
    path, details = found[0]
    message = document.located(path, _problem(path, details, known, advice))
    others = list(dict.fromkeys(dotted(other) for other, _ in found[1:]))
    if len(others) > _MOST_OTHERS:
        others[_MOST_OTHERS:] = [f"{len(others) - _MOST_OTHERS} more"]
    return f"{message} (also wrong: {', '.join(others)})" if others else message


def _field_path(details: ErrorDetails, document: Document) -> Path:
    """Pydantic's location without the tags of unions and the marks of mapping keys."""
    path: Path = ()
    location = details["loc"]
    for position, part in enumerate(location):
        absent = details["type"] == "missing" and position == len(location) - 1
        if absent or (*path, part) in document.lines:
            path = (*path, part)
    return path


def _problem(path: Path, details: ErrorDetails, known: Collection[str], advice: str) -> str:
    """Problem, value and remedy in words."""
    name, got = str(path[-1]) if path else "", _shown(details["input"])
    match details["type"]:
        case "missing":
            return f"missing; add it ({_remedy(name, advice)})"
        case "extra_forbidden":
            return f"unknown key; {spelling(name, known)}"
        case "model_type" | "mapping_type" | "dict_type":
            return f"expected a mapping, got {got}; {_remedy(name, advice)}"
        case "value_error":
            return f"{details['ctx']['error']}; correct it"
        case "expected":
            return f"{details['msg']}, got {got}; {_remedy(name, advice)}"
        case "literal_error":
            return f"expected {details['ctx']['expected']}, got {got}; use one of these"
        case "union_tag_not_found":
            tag = details["ctx"]["discriminator"].strip("'")
            return f"{tag} is missing; add {any_of(f'`{tag}: {name}`' for name in _TAGS[tag])}"
        case "union_tag_invalid":
            tags, got = details["ctx"]["expected_tags"], repr(details["ctx"]["tag"])
            name = details["ctx"]["discriminator"].strip("'")
            return f"expected a {name} of {tags}, got {got}; use one of these"
        case _:
            problem = details["msg"].removeprefix("Input should be ")
            return f"{problem}, got {got}; {_remedy(name, advice)}"


def _shown(value: object) -> str:
    """A value short enough for one line."""
    if isinstance(value, dict | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _remedy(name: str, advice: str) -> str:
    suffix = next((s for s in sorted(_REMEDIES, key=len, reverse=True) if name.endswith(s)), None)
    return _REMEDIES[suffix] if suffix else advice


def spelling(name: str, known: Collection[str]) -> str:
    """The remedy for a name that is not known: the one that is nearest, if any is near."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "remove it"
