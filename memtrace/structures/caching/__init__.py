"""The parts of a caching allocator: blocks in device segments, kept in pools per stream, given back when memory runs out."""
