"""A trace -> the smallest one found that still shows the same: delta debugging over the lifetimes of its blocks."""

from __future__ import annotations

from memtrace.shrinking.reducing import Shrunk, shrink

__all__ = ["Shrunk", "shrink"]
