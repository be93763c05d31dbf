"""Contention: the locks of arenas that threads share, under a stated timing model."""
