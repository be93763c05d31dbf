"""What stands for a heap in a pool that is too small for it."""
