"""Shrinking: finds a smaller trace that still shows the same fault, by delta debugging over the lives of its blocks."""

from __future__ import annotations

from memtrace.questions.shrinking.reducing import Shrunk, shrink

__all__ = ["Shrunk", "shrink"]
