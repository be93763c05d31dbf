"""Compile with numba in a fraction of its time, to code that computes the same and is as fast.

Numba optimises and emits machine code for each function of a kernel by itself, with everything that this function calls linked
in, and again for its callers; of all that only the code of the kernel is used. Under ``lean`` the other functions are kept as
they were lowered, and are linked once, into the kernel, which is optimised in one pass. A call is typed once for all callers that
have the same types of arguments, so what it calls is compiled once. Python's garbage collector rests meanwhile.

This module replaces internals of numba. ``is_usable`` says whether this numba has them and whether they work as expected;
where they do not, ``lean`` does nothing. ``MEMTRACE_LEAN=0`` in the environment has the same effect.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any

SWITCH = "MEMTRACE_LEAN"  # environment variable; "0" has numba compile as it does without this module

# What is replaced, extended or called, and the names of its parameters; None for what is not called.
INTERNALS: dict[str, dict[str, str | None]] = {
    "numba.core.codegen": {
        "JITCPUCodegen._library_class": None,
        "JITCPUCodegen._module_pass_manager": "self kwargs",
        "JITCPUCodegen.set_env": "self env_name env",
        "JITCodeLibrary.add_linking_library": "self library",
        "JITCodeLibrary.finalize": "self",
        "JITCodeLibrary._get_module_for_linking": "self",
        "JITCodeLibrary._optimize_functions": "self ll_module",
        "JITCodeLibrary._optimize_final_module": "self",
        "JitEngine.is_symbol_defined": "self name",
        "RuntimeLinker.PREFIX": None,
    },
    "numba.core.compiler_lock": {"global_compiler_lock": None},
    "numba.core.cpu": {"CPUContext.get_executable": "self library fndesc env", "CPUContext.get_env_name": "self fndesc"},
    "numba.core.targetconfig": {
        "ConfigStack.top_or_none": "",
        "TargetConfig.copy": "self",
        "TargetConfig.discard": "self name",
    },
    "numba.core.types.functions": {"BaseFunction.get_call_type": "self context args kws"},
}

# Flags of the function that contains a call, which do not change what is called.
OF_CALLER = ("forceinline", "no_cpython_wrapper", "no_cfunc_wrapper", "release_gil")

_depth = 0  # of `lean` within `lean`; written only by the thread that holds numba's compiler lock


@contextmanager
def lean() -> Iterator[None]:
    """Have numba compile in less time within the block; no other thread compiles meanwhile.

    All that is replaced is restored at the end, also after an error. If ``is_usable`` is false, the block runs unchanged.
    """
    if os.environ.get(SWITCH) == "0" or not is_usable():
        yield
        return
    with _replaced():
        yield


@contextmanager
def _replaced() -> Iterator[None]:
    """Replace the internals of numba within the block, and hold its compiler lock; a block within a block changes nothing."""
    global _depth
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock, ExitStack() as undo:
        _depth += 1
        undo.callback(_leave)
        if _depth == 1:
            for owner, name, new in _replacements():
                undo.callback(setattr, owner, name, vars(owner)[name])
                setattr(owner, name, new)
            if gc.isenabled():
                undo.callback(gc.enable)
                gc.disable()
        yield


def _leave() -> None:
    """Count one `lean` less; after the last one, forget the calls that were typed."""
    global _depth
    _depth -= 1
    if _depth == 0:
        _typed.clear()


@cache
def is_usable() -> bool:
    """Return whether this numba has the internals that ``lean`` replaces, and compiles two functions correctly without them."""
    return has_internals() and _compiles_probe()


def has_internals() -> bool:
    """Return whether this numba has everything in ``INTERNALS``, with the parameters given there."""
    try:
        for module, names in INTERNALS.items():
            for name, parameters in names.items():
                found: Any = import_module(module)
                for part in name.split("."):
                    found = getattr(found, part)
                if parameters is not None and list(signature(found).parameters) != parameters.split():
                    return False
        return all(name in vars(owner) for owner, name, _ in _replacements())
    except (ImportError, AttributeError, TypeError, ValueError):
        return False


def _compiles_probe() -> bool:
    """Return whether a function that calls another one is compiled under ``lean`` and computes what it should."""
    import numba
    from numba.extending import register_jitable

    @register_jitable(no_cfunc_wrapper=True)
    def inner(number):  # type: ignore[no-untyped-def]
        return 3 * number

    def outer(number):  # type: ignore[no-untyped-def]
        return inner(number) + 1

    try:
        with _replaced():
            return bool(numba.njit(outer)(5) == 16)
    except Exception:  # whatever it is, numba is then used as it is
        return False


@cache
def _replacements() -> list[tuple[Any, str, Any]]:
    """Return what ``lean`` replaces: the class, the name of the attribute, and its new value."""
    from numba.core import codegen, cpu, targetconfig
    from numba.core.types import functions

    library, function = _library_class(codegen), functions.BaseFunction
    return [
        (codegen.JITCPUCodegen, "_library_class", library),
        (cpu.CPUContext, "get_executable", _get_executable(cpu.CPUContext.get_executable, library)),
        (function, "get_call_type", _typed_once(function.get_call_type, targetconfig.ConfigStack)),
    ]


def _library_class(codegen: Any) -> Any:
    """Return numba's class of the code of one function and what it calls, changed to be linked before it is optimised."""

    class Library(codegen.JITCodeLibrary):  # type: ignore[misc]
        """The code of one function; it is optimised and emitted only if its address is asked for.

        Numba may use it after ``lean`` like any other: to link it, numba has it finalised first.
        """

        def __init__(self, *arguments: Any, **options: Any) -> None:
            """Make a library without code."""
            super().__init__(*arguments, **options)
            self.environments: dict[str, Any] = {}  # those of functions whose code is not loaded yet, by symbol

        def add_linking_library(self, library: Any) -> None:
            """Note a library whose functions are called, finalised or not."""
            self._linking_libraries.append(library)

        def _reachable(self) -> list[Any]:
            """Return the libraries that are to be linked; one that is finalised contains those that it calls."""
            found: dict[int, Any] = {}
            waiting = list(self._linking_libraries)
            while waiting:
                library = waiting.pop()
                if id(library) not in found:
                    found[id(library)] = library
                    waiting += [] if library._finalized else library._linking_libraries
            return list(found.values())

        def finalize(self) -> None:
            """Link everything that is called, optimise it together and emit machine code."""
            self._linking_libraries = self._reachable()
            super().finalize()
            for library in self._linking_libraries:
                for name, environment in getattr(library, "environments", {}).items():
                    if self._codegen._engine.is_symbol_defined(name):
                        self._codegen.set_env(name, environment)

        def _get_module_for_linking(self) -> Any:
            """Return a module to link into another one: before the library is finalised, a copy of the functions as lowered."""
            if self._finalized:
                return super()._get_module_for_linking()
            module = self._final_module.clone()
            for function in module.functions:
                if not function.is_declaration and function.linkage.name == "external":
                    function.linkage = "linkonce_odr"  # dropped where all calls are inlined
            return module

        def _optimize_functions(self, ll_module: Any) -> None:
            """Give a module the layout of data that the optimiser needs; its functions are optimised with their callers."""
            ll_module.data_layout = self._codegen._data_layout

        def _optimize_final_module(self) -> None:
            """Optimise the linked module in one pass."""
            manager, builder = self._codegen._module_pass_manager()
            manager.run(self._final_module, builder)

        def is_only_called(self, entry: str) -> bool:
            """Return whether only compiled code calls the function: no ``entry`` for Python was made, and it is not recursive."""
            prefix = codegen.RuntimeLinker.PREFIX
            module = self._final_module
            return (
                not self._finalized
                and all(function.name != entry for function in module.functions)
                and not any(variable.name.startswith(prefix) for variable in module.global_variables)
            )

    return Library


def _get_executable(original: Any, library_class: Any) -> Any:
    """Return a replacement of ``CPUContext.get_executable``."""
    from numba import _dynfunc

    def get_executable(self: Any, library: Any, fndesc: Any, env: Any) -> Any:
        """Return the function as a Python object, without machine code if Python cannot call it.

        Numba makes such an object with the same null address, but compiles the function first.
        """
        if not isinstance(library, library_class) or not library.is_only_called(fndesc.llvm_cpython_wrapper_name):
            return original(self, library, fndesc, env)
        library.environments[self.get_env_name(fndesc)] = env
        name = fndesc.qualname.split(".")[-1]
        return _dynfunc.make_function(fndesc.lookup_module(), name, "called by compiled code only", 0, env, (library,))

    return get_executable


_typed: dict[Any, Any] = {}


def _typed_once(original: Any, stack: Any) -> Any:
    """Return a replacement of ``BaseFunction.get_call_type``."""

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        """Return the signature of a call, which is kept for further calls with arguments of the same types."""
        flags = stack.top_or_none()
        if flags is not None:
            flags = flags.copy()
            for name in OF_CALLER:
                flags.discard(name)
        key = id(self), id(context), tuple(args), tuple(kws.items()), flags
        if key not in _typed:
            _typed[key] = self, original(self, context, args, kws)
        return _typed[key][1]

    return get_call_type
