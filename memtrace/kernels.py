"""Kernels: functions over arrays that numba compiles, or that the interpreter runs where that is sooner done.

A kernel is plain Python. What it calls is plain Python too, of modules that `digests.is_ours` follows: all of that is compiled
with it. Compiled kernels are kept on disk (`code_cache`) under the digest of all these modules.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial, update_wrapper
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from memtrace.code_cache import KeptCode, is_any_kept
from memtrace.digests import UNSAVED, digest, plain_functions, reachable_modules
from memtrace.lean import SWITCH, lean
from memtrace.records import viewed

# ``_nrt=False`` drops the reference counting that numba leaves in functions that are handed arrays: 6 times faster. A kernel
# allocates nothing, so there is nothing to count. The option is undocumented: where numba lacks it, it is left out.
FAST: dict[str, Any] = {"_nrt": False}
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# Loop passes of a kernel, of 1 to 8 microseconds each in the interpreter, up to which interpreting takes less time than loading
# compiled code (0.1 s), than importing the compiler first (0.6 s), and than compiling (1 to 3 s).
SOONER_THAN_LOADED, SOONER_THAN_IMPORTED, SOONER_THAN_COMPILED = 20_000, 200_000, 500_000

NAMES = "numbers of its own"  # of the machine code, see `numbered`; a part of what files are named by

_jitable: set[Callable[..., Any]] = set()
Function = TypeVar("Function", bound=Callable[..., Any])


class Kernel:
    """A function that is compiled at its first call, or loaded from disk."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        modules: Callable[[], list[ModuleType]] | None = None,
        functions: Iterable[Callable[..., Any]] = (),
        fast: bool = False,
        **options: Any,
    ) -> None:
        """Make a kernel of a function; ``options`` are numba's.

        ``name`` is the first part of the names of its files, by default the function's own. ``modules()`` returns the modules
        that it is compiled from, by default those that its own module reaches; ``functions`` are further ones that it calls.
        ``fast``: the function allocates nothing, and divides by no zero, so it is compiled with the options of `fast_options`.
        """
        update_wrapper(self, function)
        self.function = function
        self.name = name or f"{function.__module__}.{function.__qualname__}"
        self.modules = modules or (lambda: reachable_modules(import_module(function.__module__)))
        self.functions = functions
        self.fast = fast
        self.options = options
        self.interpreted_passes = 0  # so far, in this process
        self._compiled: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Return what the compiled function returns."""
        return self.compiled(*arguments)

    @property
    def compiled(self) -> Any:
        """The function as numba's dispatcher; nothing is compiled before it is called."""
        if self._compiled is None:
            modules = self.modules()
            make_jitable({f for module in modules for f in plain_functions(module)}.union(self.functions))
            made = digest(modules)
            # Numba names machine code after the function; of an edited file there may be two in a process.
            self.function.__qualname__ = f"{self.function.__qualname__.partition(':')[0]}:{made}"
            options = {"nogil": True, **(fast_options() if self.fast else {}), **self.options}
            saved = not any(vars(module).get(UNSAVED) for module in modules)
            self._compiled = njit(self.function, (lambda: made) if saved else None, self.name, **options)
        return self._compiled

    @property
    def is_loaded(self) -> bool:
        """Whether compiled code of it is in this process."""
        return self._compiled is not None and bool(self._compiled.signatures)

    def files(self, arguments: Iterable[Any]) -> list[Path]:
        """Return the file of the compiled code for these arguments, whether it exists or not, as a list; empty without one."""
        path = file_of(self.compiled, arguments)
        return [] if path is None else [path]

    def was_compiled(self) -> bool:
        """Return whether code of it is on disk, for arguments of any types. The compiler is not imported for this."""
        modules = self.modules()
        return not any(vars(module).get(UNSAVED) for module in modules) and is_any_kept(self.name, digest(modules))

    def interpreted(self, *arguments: Any) -> Any:
        """Return what the plain function returns; record arrays are passed as `records.viewed`, which is faster."""
        return self.function(*(viewed(argument) for argument in arguments))

    def run(self, passes: int, *arguments: Any, coming: int = 0) -> Any:
        """Return what the function returns, run by the interpreter or as compiled code, whichever takes less time in all.

        ``passes`` is how often the function's loop will run in this call, ``coming`` in this call and others that are known to
        come. What the interpreter has run in this process before counts too, so many short calls get compiled code as well.
        """
        if self.is_loaded:
            return self.compiled(*arguments)
        self.interpreted_passes += passes
        work = max(self.interpreted_passes, coming)
        least = SOONER_THAN_LOADED if "numba" in sys.modules else SOONER_THAN_IMPORTED
        if work > least and (work > SOONER_THAN_COMPILED or is_kept(self.compiled, arguments)):
            return self.compiled(*arguments)
        return self.interpreted(*arguments)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Return a decorator that makes a `Kernel` of a function; the options are those of `Kernel`."""
    return partial(Kernel, **options)


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator as ``numba.njit``, for functions that call each other and are compiled one by one, and kept on disk."""

    def decorate(function: Callable[..., Any]) -> Any:
        """Return the function as numba's dispatcher."""
        return njit(function, lambda: digest(reachable_modules(import_module(function.__module__))), **{"nogil": True, **options})

    return decorate


def fast_options() -> dict[str, Any]:
    """Return the options by which a kernel that allocates nothing is compiled."""
    return {**OPTIONS, **(FAST if knows_fast() else {})}


def knows_fast() -> bool:
    """Return whether this numba has the options of ``FAST``."""
    from numba.core.registry import cpu_target

    return all(hasattr(cpu_target.options, name) for name in FAST)


def knows_numbers() -> bool:
    """Return whether this numba numbers machine code as `numbered` expects; if not, no kernel is kept on disk."""
    from numba.core.bytecode import FunctionIdentity

    return hasattr(FunctionIdentity, "_unique_ids")


def njit(function: Callable[..., Any], sources: Callable[[], str] | None, name: str = "", **options: Any) -> Any:
    """Return the function for numba to compile, as ``numba.njit``, but under ``lean``, and kept on disk.

    ``sources()`` returns the digest of everything that it is compiled from; without it, nothing is kept. ``name`` is the first
    part of the names of its files, by default the function's own.
    """
    import numba

    dispatcher = numba.njit(**options)(function)
    compiler: Any = getattr(dispatcher, "_compiler", None)
    if hasattr(compiler, "compile") and hasattr(dispatcher, "_cache"):
        how = f"{NAMES} {sorted(options.items())} {SWITCH}={os.environ.get(SWITCH, '')}"
        kept = None
        if sources is not None and knows_numbers():
            kept = KeptCode(name or f"{function.__module__}.{function.__qualname__}", cache(sources), how)
            dispatcher._cache = kept
        # The dispatcher calls it for a signature that is neither compiled nor on disk, so other calls cost no more.
        compiler.compile = partial(_compile, compiler.compile, dispatcher, kept)
    return dispatcher


def c_function(function: Callable[..., Any], signature: Any, name: str, sources: str) -> Any:
    """Return the function as numba's ``cfunc`` of this signature, which `compile_function` compiles, or loads from disk.

    ``name`` is the first part of the name of its file, ``sources`` the digest of everything that it is compiled from.
    """
    from numba.core.ccallback import CFunc

    how = f"{NAMES} c function {SWITCH}={os.environ.get(SWITCH, '')}"
    options = {"nopython": True, "error_model": "numpy", **(FAST if knows_fast() else {})}
    made: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options=options)
    if knows_numbers():
        made._cache = KeptCode(name, lambda: sources, how)
    return made


def compile_function(function: Any) -> None:
    """Compile what `c_function` returned, under ``lean``, or load it from disk."""
    kept = function._cache
    if not isinstance(kept, KeptCode):
        with lean():
            function.compile()
        return
    with kept.locked(function._sig), lean(), numbered(kept, function._sig):
        function.compile()


def file_of_function(function: Any) -> list[Path]:
    """Return the file of a function's compiled code, whether it exists or not, as a list; empty if there is no folder."""
    kept = function._cache
    path = kept.path(function._sig) if isinstance(kept, KeptCode) else None
    return [] if path is None else [path]


def _compile(compile: Callable[..., Any], dispatcher: Any, kept: KeptCode | None, types: Any, result: Any) -> Any:
    """Return the result of numba's ``compile`` for arguments of these types, called under ``lean``, and keep it on disk.

    Another process may have compiled the same meanwhile; then its result is loaded.
    """
    if kept is None:
        with lean():
            return compile(types, result)
    with kept.locked(types):
        found = kept.load_overload(types, dispatcher.targetctx)
        if found is not None:
            dispatcher.targetctx.insert_user_function(found.entry_point, found.fndesc, [found.library])
            return found
        with lean(), numbered(kept, types):
            compiled = compile(types, result)
        kept.save_overload(types, compiled)
        return compiled


@contextmanager
def numbered(kept: KeptCode, types: Any) -> Iterator[None]:
    """Have the machine code that numba makes within the block be named apart from that of all other kernels on disk.

    Numba names it by function, types and a number, which it counts up from 1 in each process. So kernels that two processes made
    may have the same names for other code, and a third process that loads both would run the code of the first for the second.
    Here the numbers begin at one that is made of all that the kernel depends on; they are below 2^60.
    """
    if not knows_numbers():
        yield
        return
    from numba.core.bytecode import FunctionIdentity
    from numba.core.compiler_lock import global_compiler_lock

    text = f"{kept.name} {kept.sources()} {kept.options} {types}"
    first = int(hashlib.sha256(text.encode()).hexdigest()[:10], 16) << 20
    with global_compiler_lock:
        before = FunctionIdentity._unique_ids
        FunctionIdentity._unique_ids = count(first)
        try:
            yield
        finally:
            FunctionIdentity._unique_ids = before


def file_of(dispatcher: Any, arguments: Iterable[Any]) -> Path | None:
    """Return the file from which `njit`'s function loads the code for these arguments, whether it exists or not; or None."""
    kept = getattr(dispatcher, "_cache", None)
    return kept.path(tuple(map(dispatcher.typeof_pyval, arguments))) if isinstance(kept, KeptCode) else None


def is_kept(dispatcher: Any, arguments: Iterable[Any]) -> bool:
    """Return whether the code for these arguments is on disk."""
    path = file_of(dispatcher, arguments)
    return path is not None and path.exists()


def compiled_as(register: Callable[[], None]) -> Callable[[Function], Function]:
    """Return a decorator for a function that compiled code has something of its own for, which ``register`` tells numba."""

    def mark(function: Function) -> Function:
        """Mark the function, and return it."""
        function.compiled_as = register  # type: ignore[attr-defined]
        return function

    return mark


def make_jitable(functions: set[Callable[..., Any]]) -> None:
    """Make plain functions callable from compiled code, each once in a process."""
    from numba.extending import register_jitable

    for function in functions - _jitable:
        register = getattr(function, "compiled_as", None)
        if register is not None:
            register()
        else:
            register_jitable(forceinline=not getattr(function, "out_of_line", False), no_cfunc_wrapper=True)(function)
        _jitable.add(function)
