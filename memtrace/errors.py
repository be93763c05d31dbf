"""Errors for people: each names what is wrong and what to try, and carries its exit code."""


class MemtraceError(Exception):
    """Anything a user can mend; shown as one message, never as a traceback."""

    exit_code = 1


class UsageError(MemtraceError):
    """The command or call is wrong."""

    exit_code = 2


class InputError(MemtraceError):
    """A trace or a results folder cannot be read, or is invalid."""

    exit_code = 3


class PolicyError(MemtraceError):
    """A policy broke an invariant, or cannot be run."""

    exit_code = 4
