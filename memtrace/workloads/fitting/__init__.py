"""A workload model learned from a recorded trace, and how close what it generates comes."""
