"""The kinds of events, by number: memtrace.trace.Op."""

ALLOC, FREE, REALLOC, COPY, SWAP, ACCESS, TRIM, RECORD, COMPLETE = range(9)
