"""Reuse planning: what a trace need not hold at its peak, by blocks that take over others, are dropped or are freed sooner."""
