"""Cache locality: the addresses of a placement, run through a model of caches and TLBs, to compare policies by misses."""
