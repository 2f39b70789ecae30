"""What the commands do, the whole way: one module each, and what they share."""

from __future__ import annotations
