"""What the loop calls where a policy does not define the function: nothing happens."""

from memtrace.contract.request import NOTHING, NOWHERE


def resize(state, request, address, old_size):
    return NOWHERE


def trim(state):
    pass


def freed_by(state, request, stream):
    """A block is about to be freed, as ``stream`` asks for it."""


def record(state, request, stream, address):
    """A stream uses the block: NOTHING, or ENLARGE."""
    return NOTHING


def complete(state, request, stream, address):
    """The stream work of a freed block is done; where ``request.block`` is -1, that of all."""


def access(state, request, address):
    pass


def write_counters(state, row):
    pass


def expect(state, handle):
    """The block will be freed some events from now."""


def expect_soon(state, handle):
    """The block will be freed after the next few events."""


def releasable(state):
    """Free bytes that could go back to the system as they lie; -1 where the policy does not tell."""
    return -1
