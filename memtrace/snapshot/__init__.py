"""PyTorch memory snapshots: read without torch and without running anything, replayed, and written."""
