"""Learn a workload model from a recorded trace, generate blocks from it, and compare them with the recording."""
