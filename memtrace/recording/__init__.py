"""Run a program, record its allocations, and write them as a trace; each file records one kind of program."""
