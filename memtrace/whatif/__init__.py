"""A recorded GPU program under other settings of PyTorch's allocator: what each would have held, and how small a card it fits."""
