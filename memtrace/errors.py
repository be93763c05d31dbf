"""Define the errors that are shown to users.

Each message says what is wrong and what to try; each class has the exit code of the command that ends with it.
"""


class MemtraceError(Exception):
    """Report something that a user can mend; base class of all such errors, which are shown without a traceback."""

    exit_code = 1


class UsageError(MemtraceError):
    """Report that the command line or the arguments of a call are wrong."""

    exit_code = 2


class PoolTooSmallError(UsageError):
    """Report that a pool is too small for the structures of the heap that is to be in it."""


class InputError(MemtraceError):
    """Report that a trace or a results folder cannot be read, or is invalid."""

    exit_code = 3


class PolicyError(MemtraceError):
    """Report that a policy broke an invariant, or cannot be run."""

    exit_code = 4
