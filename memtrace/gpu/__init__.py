"""Replay a recorded GPU program under other settings of PyTorch's allocator: how much memory each would have reserved, and on how
small a device the program fits.
"""
