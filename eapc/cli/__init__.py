"""The command line: parse, call, print. `main` is what `eapc` starts."""

from eapc.cli.app import main

__all__ = ["main"]
