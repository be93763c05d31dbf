"""Replay a trace through a real allocator that is installed: its own malloc and free are called in a separate process.

`libraries` finds the allocator's shared library, `driving` runs the process that calls it, and `plan` turns its answers
into the plan that policy ``native`` follows.
"""
