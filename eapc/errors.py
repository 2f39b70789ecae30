"""Everything that eapc raises on purpose.

EapcError                 one line for the user, an exit code for the shell
├── UsageError            2  options that contradict each other or make no sense
│   ├── ArgumentError        a Python call with what it does not take: a TypeError too
│   └── MissingLibraryError  a library that is not installed: an ImportError too
├── ModelError            3  the model cannot be read, or holds what eapc cannot work on
├── HardwareError         3  the hardware description is unknown or invalid
├── DataError             3  calibration or evaluation data does not fit
├── MeterError            3  the machine has no energy meter that can be read
├── GoalError             4  the goal could not be met, the best result was still written; or a
│                            budget is exceeded, the report was still printed
├── VerificationError     5  the rewritten model failed a check; nothing was written
└── PassError             a pass failed: carries its cause's exit code

Anything else that escapes is a bug (exit code 1).
"""

from __future__ import annotations


class EapcError(Exception):
    """Base of all errors that name a file or option, a field, a value and a remedy."""

    exit_code = 1


class UsageError(EapcError):
    """Options that contradict each other or make no sense."""

    exit_code = 2


class ArgumentError(UsageError, TypeError):
    """A Python call was given something of the wrong type, an unknown keyword, or one twice."""


class MissingLibraryError(UsageError, ImportError):
    """What was asked for takes a library that is not installed; the line says how to install it."""


class ModelError(EapcError):
    """The model cannot be read, or there is nothing in it that eapc can work on."""

    exit_code = 3


class HardwareError(EapcError):
    """The hardware description is unknown or invalid."""

    exit_code = 3


class DataError(EapcError):
    """Calibration or evaluation data is missing, malformed or does not fit the model."""

    exit_code = 3


class MeterError(EapcError):
    """The machine has no energy meter, it may not be read, or it does not move."""

    exit_code = 3


class GoalError(EapcError):
    """The goal could not be met, or a budget is exceeded; the result was written and reported."""

    exit_code = 4


class VerificationError(EapcError):
    """The rewritten model failed a check; nothing was written under the output's name."""

    exit_code = 5


class PassError(EapcError):
    """A pass of a pipeline failed; `exit_code` is its cause's."""

    def __init__(self, pass_name: str, cause: EapcError) -> None:
        super().__init__(f"{pass_name}: {cause}")
        self.exit_code = cause.exit_code
