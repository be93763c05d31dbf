"""Data structures that policies are made of: a heap, indexes of its holes, buddy spaces, runs of cells, and the ledger of counts.

All are plain functions over a state, a NamedTuple of arrays, which run in the interpreter or compiled into the replay loop.
"""
