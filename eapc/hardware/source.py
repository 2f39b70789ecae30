"""Which file a machine was read from: reports name it, equality of machines knows nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from pydantic import PrivateAttr

from eapc.hardware.sections import Section

SHORT_DIGEST = 12
"""Digits of a digest that people compare."""


@dataclass(frozen=True)
class HardwareSource:
    """The file of a machine.

    `name` is the machine's, `path` the file's as it was given, or that of a shipped one;
    `digest` is the SHA-256 of its bytes in hexadecimal digits. `hides_shipped` where a file of
    one's own was taken by a name that a shipped machine has too.
    """

    name: str
    path: str
    digest: str
    is_shipped: bool
    hides_shipped: bool = False

    @classmethod
    def of(
        cls, name: str, path: str, text: bytes, *, is_shipped: bool, hides_shipped: bool = False
    ) -> Self:
        """The source of a file with these bytes."""
        return cls(name, path, sha256(text).hexdigest(), is_shipped, hides_shipped)

    @property
    def short_digest(self) -> str:
        """The first digits of the digest."""
        return self.digest[:SHORT_DIGEST]

    def __str__(self) -> str:
        """`shipped eyeriss, sha256 0123456789ab`; a path where it is a file of one's own."""
        told = f"shipped {self.name}" if self.is_shipped else self.path
        instead = ", a file here and not the shipped machine" if self.hides_shipped else ""
        return f"{told}{instead}, sha256 {self.short_digest}"


class SourcedSection(Section):
    """What a whole file describes; it knows the file that it was read from, if any."""

    _source: HardwareSource | None = PrivateAttr(default=None)

    @property
    def source(self) -> HardwareSource | None:
        """The file; None where the machine was made otherwise."""
        return self._source

    def read_from(self, source: HardwareSource) -> Self:
        """The same machine, known to be of a file."""
        machine = self.model_copy()
        machine._source = source
        return machine

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, whatever file they were read from."""
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def __hash__(self) -> int:
        """Consistent with equality; subclasses do better."""
        return hash(type(self))
