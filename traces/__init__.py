"""Recorded traces that come with memtrace, and how they were made: see README.md."""
