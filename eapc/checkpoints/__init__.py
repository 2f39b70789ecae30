"""Finished parts of long runs, and digests of what results depend on."""

from eapc.checkpoints.parts import (
    Checkpoint,
    Checkpoints,
    Finished,
    arrays_digest,
    data_digest,
    digest,
    file_digest,
    model_digest,
    software,
)

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "Finished",
    "arrays_digest",
    "data_digest",
    "digest",
    "file_digest",
    "model_digest",
    "software",
]
