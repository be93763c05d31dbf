"""``python -m memtrace``."""

from memtrace.cli import main

main()
