"""Simulate a serving engine with continuous batching: which requests run, and what their key-value caches contain."""
