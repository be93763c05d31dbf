"""Speed of memtrace's policies beside C++ twins and the C library's malloc: `python -m benchmarks`."""
