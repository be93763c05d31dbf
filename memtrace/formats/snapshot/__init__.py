"""PyTorch memory snapshots: read without torch and without running anything from the file, replayed, and written."""
