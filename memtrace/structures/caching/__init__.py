"""The parts of the model of PyTorch's caching allocator.

Blocks lie in segments got from the device. Freed blocks are kept in one free set per stream and pool, and memory goes back to the
device when it runs out. The policy that uses these parts is ``policies.pytorch``.
"""
