"""Compile a user's policy alone, for a loop that is compiled already and calls it by its address.

A policy without a ledger has few functions of its own. They are compiled to one function, the entry, which takes the number of
the function to call, and the loop is compiled once for all such policies: an edited policy takes a second, and not the time of
the loop and of the engine's account of holes. The loop passes the policy's state by the address of a copy of its fields. A call
by address costs a few nanoseconds that a policy inside the loop does not take.

This module is made of numba's internals, like `contract.references`, and is imported only to compile.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import typeof
from numba.core import types
from numba.extending import intrinsic

from memtrace.contract.policy import constants, functions_of
from memtrace.contract.references import Held
from memtrace.contract.request import NOWHERE
from memtrace.digests import digest, plain_functions, reachable_modules
from memtrace.engine import adapted, gaps, loop, offences, places, recorder
from memtrace.engine.binding import bind
from memtrace.engine.blocks import make_request
from memtrace.engine.compile import SEPARABLE, closed
from memtrace.kernels import Kernel, c_function, compile_function, file_of_function, make_jitable

# Numbers of the functions that an entry has.
ALLOC, FREE, RESERVED, SURVEY, RESIZE, TRIM, NEXT_EVENT = range(7)
ARGUMENTS = 9  # number, address of the state, five fields of the request, and two further arguments; int64 each
WHOLE = (int, np.int64)
TABLE = 7  # entries of Indirect.table


class Indirect(NamedTuple):
    """The state of a policy as the loop sees it."""

    table: np.ndarray  # addresses of the entry, of the state's fields and of table[3]; and the four values of a survey


@intrinsic
def call(typingctx, entry, number, state, size, align, stream, tag, block, one, other):  # type: ignore[no-untyped-def]
    """Call the entry at an address."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        form = ir.FunctionType(word, [word] * ARGUMENTS)
        whole = [
            context.cast(builder, argument, kind, types.int64) for argument, kind in zip(arguments, signature.args, strict=True)
        ]
        return builder.call(builder.inttoptr(whole[0], form.as_pointer()), whole[1:])

    return types.int64(entry, number, state, size, align, stream, tag, block, one, other), codegen


@intrinsic
def store(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Write an int64 to an address."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store(context.cast(builder, arguments[1], signature.args[1], types.int64), at)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


def alloc(state, request):  # type: ignore[no-untyped-def]
    """Call the policy's ``alloc``."""
    at = state.table
    return call(at[0], ALLOC, at[1], request.size, request.align, request.stream, request.tag, request.block, 0, 0)


def free(state, request, address):  # type: ignore[no-untyped-def]
    """Call the policy's ``free``."""
    at = state.table
    call(at[0], FREE, at[1], request.size, request.align, request.stream, request.tag, request.block, address, 0)


def reserved(state):  # type: ignore[no-untyped-def]
    """Call the policy's ``reserved``."""
    at = state.table
    return call(at[0], RESERVED, at[1], 0, 0, 0, 0, 0, 0, 0)


def survey(state):  # type: ignore[no-untyped-def]
    """Call the policy's ``survey``, which writes its values behind the addresses."""
    at = state.table
    call(at[0], SURVEY, at[1], 0, 0, 0, 0, 0, at[2], 0)
    return at[3], at[4], at[5], at[6]


def resize(state, request, address, old_size):  # type: ignore[no-untyped-def]
    """Call the policy's ``resize``."""
    at = state.table
    return call(at[0], RESIZE, at[1], request.size, request.align, request.stream, request.tag, request.block, address, old_size)


def trim(state):  # type: ignore[no-untyped-def]
    """Call the policy's ``trim``."""
    at = state.table
    call(at[0], TRIM, at[1], 0, 0, 0, 0, 0, 0, 0)


def next_event(state, number):  # type: ignore[no-untyped-def]
    """Call the policy's ``next_event``."""
    at = state.table
    call(at[0], NEXT_EVENT, at[1], 0, 0, 0, 0, 0, number, 0)


def no_survey(state):  # type: ignore[no-untyped-def]
    """Stand for a missing ``survey``, which is never called."""
    return 0, 0, 0, 0


def no_resize(state, request, address, old_size):  # type: ignore[no-untyped-def]
    """Stand for a missing ``resize``."""
    return NOWHERE


def nothing(state):  # type: ignore[no-untyped-def]
    """Stand for a missing ``trim``."""


def no_number(state, number):  # type: ignore[no-untyped-def]
    """Stand for a missing ``next_event``."""


def shared_loop(policy: ModuleType) -> Kernel:
    """Return the loop for all policies that have the same functions and constants as this one."""
    own = functions_of(policy)
    pieces: dict[str, Any] = {"alloc": alloc, "free": free, "reserved": reserved}
    pieces |= {name: globals()[name] for name in SEPARABLE if name in own}
    pieces |= {name: vars(policy)[name] for name, _, _ in constants() if name in vars(policy)}
    settings = sorted((name, "" if isinstance(value, FunctionType) else repr(value)) for name, value in pieces.items())
    name = f"memtrace.engine.separate_{hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}"
    if name not in _loops:
        module = sys.modules[name] = ModuleType(name)
        vars(module).update(pieces, State=Indirect)
        sources = [sys.modules[__name__], adapted, gaps, loop, recorder, places, offences]
        _loops[name] = closed(loop.specialise(bind(module)), name.rpartition(".")[2], sources, [bind(module)])
    return _loops[name]


_loops: dict[str, Kernel] = {}


def entry_of(policy: ModuleType, kind: Any) -> Any:
    """Return the entry of a policy whose own state is of numba's type ``kind``, as a C function that is not compiled yet."""
    own = functions_of(policy)
    own_alloc, own_free, own_reserved = own["alloc"], own["free"], own["reserved"]
    own_survey, own_resize = own.get("survey", no_survey), own.get("resize", no_resize)
    own_trim, own_number = own.get("trim", nothing), own.get("next_event", no_number)
    surveys = "survey" in own

    @intrinsic
    def state_at(typingctx, address):  # type: ignore[no-untyped-def]
        """Return the reference to the state at an address."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], context.get_data_type(kind).as_pointer())

        return Held(kind)(types.int64), codegen

    def entry(number, address, size, align, stream, tag, block, one, other):  # type: ignore[no-untyped-def]
        """Call the function of that number."""
        state, request = state_at(address), make_request(size, align, stream, tag, block)
        if number == ALLOC:
            return np.int64(own_alloc(state, request))
        if number == FREE:
            own_free(state, request, one)
        elif number == RESERVED:
            return np.int64(own_reserved(state))
        elif number == SURVEY and surveys:
            allocated, spare, holes, largest = own_survey(state)
            store(one, allocated)
            store(one + 8, spare)
            store(one + 16, holes)
            store(one + 24, largest)
        elif number == RESIZE:
            return np.int64(own_resize(state, request, one, other))
        elif number == TRIM:
            own_trim(state)
        elif number == NEXT_EVENT:
            own_number(state, one)
        return np.int64(0)

    modules = reachable_modules(policy, sys.modules[__name__])
    make_jitable({f for module in modules for f in plain_functions(module)} | set(own.values()))
    made = digest(modules)
    entry.__qualname__ = f"entry_{policy.__name__}:{made}"
    signature = types.int64(*[types.int64] * ARGUMENTS)
    return c_function(entry, signature, f"{policy.__name__}-entry-{hashlib.sha256(str(kind).encode()).hexdigest()[:8]}", made)


def words_of(value: Any) -> list[int]:
    """Return the fields of a state for which `is_plain` is true, as compiled code lays them out."""
    if isinstance(value, np.ndarray):
        return [0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
    return [int(value)] if isinstance(value, WHOLE) else [word for part in value for word in words_of(part)]


def is_plain(value: Any) -> bool:
    """Return whether a state has only arrays, whole numbers of 64 bits, and tuples of these."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return isinstance(value, np.ndarray) or (isinstance(value, WHOLE) and not isinstance(value, bool))


class Separate:
    """The loop of a policy that is compiled alone."""

    def __init__(self, policy: ModuleType, whole: Kernel) -> None:
        """Make the loop of a policy for which `engine.compile.is_separable` is true.

        ``whole`` is the loop with the policy compiled into it, for a state that has other fields than `words_of` knows.
        """
        self.policy = policy
        self.whole = whole
        self.shared = shared_loop(policy)
        self.entries: dict[Any, Any] = {}  # by the type of the policy's state
        self.made: dict[int, Any] = {}  # by the identity of a state: the state, its fields, and the table of addresses

    def __call__(self, events: Any, start: int, state: Any, *others: Any) -> Any:
        """Replay a batch from event ``start`` of it on; return the events replayed and why it stopped."""
        if not is_plain(state.inner):
            return self.whole(events, start, state, *others)
        kind = typeof(state.inner)
        if kind not in self.entries:
            made = entry_of(self.policy, kind)
            compile_function(made)
            self.entries[kind] = made
        return self.shared(events, start, self.seen(state, self.entries[kind].address), *others)

    @property
    def is_loaded(self) -> bool:
        """Whether compiled code of it is in this process."""
        return self.whole.is_loaded or (self.shared.is_loaded and bool(self.entries))

    def files(self, arguments: tuple[Any, ...]) -> list[Path]:
        """Return the files of the compiled code for these arguments: of the shared loop, and of the policy."""
        events, start, state, *others = arguments
        if not is_plain(state.inner):
            return self.whole.files(arguments)
        files = self.shared.files((events, start, self.seen(state, 0), *others))
        self.made = {}
        return [*files, *file_of_function(entry_of(self.policy, typeof(state.inner)))]

    def seen(self, state: Any, entry: int) -> Any:
        """Return a state as the shared loop takes it, with the policy's ``entry`` at that address."""
        inner = state.inner
        if id(inner) not in self.made:
            fields = np.array(words_of(inner), np.int64)
            table = np.zeros(TABLE, np.int64)
            table[:3] = entry, fields.ctypes.data, table.ctypes.data + 3 * table.itemsize
            self.made = {id(inner): (inner, fields, table)}
        return state._replace(inner=Indirect(self.made[id(inner)][-1]))
