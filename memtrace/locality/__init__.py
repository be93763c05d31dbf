"""Cache locality: the addresses of a placement, run through a model of caches and TLBs, so that policies are compared by misses."""
