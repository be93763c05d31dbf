"""Answers that need more than one replay or none at all, each beside ``memtrace run``, with a command of its own.

They are the smallest capacity (``mincap``), a smaller trace with the same fault (``shrinking``), blocks that need not be in
memory at the peak (``reuse``), and locks of threads over arenas (``contention``). They know neither GPU recordings nor tiers.
"""
