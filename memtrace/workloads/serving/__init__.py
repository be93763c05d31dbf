"""Continuous batching: which requests run, and what their key-value caches hold."""
