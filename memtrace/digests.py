"""Find the modules that compiled code is made of, and compute the digest of their code by which it is kept on disk.

The digest is of the code that Python runs, and of the constants that it reads. Comments, blank lines and docstrings
of functions do not count, nor does the place of a file.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from memtrace import plugins

OPTIMIZED, NEW_LOCALS = inspect.CO_OPTIMIZED, inspect.CO_NEWLOCALS  # flags that the code of a function has, and of no class
HAS_DOCSTRING = 0x4000000  # flag of functions from Python 3.13 on; before, a docstring is the first constant
SIMPLE = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype)


def plain_functions(module: ModuleType) -> list[FunctionType]:
    """Return the functions that a module defines or imports, without those of installed libraries and the standard library.

    Of functions that are to be compiled, which an object of numba or of `kernels` stands for, the plain ones are returned.
    """
    found = (plain(value) for value in vars(module).values())
    return [f for f in found if f is not None and is_ours(f.__module__)]


def plain(value: Any) -> FunctionType | None:
    """Return the plain Python function that a value is, or that it stands for; None if it is neither."""
    if type(value).__module__.startswith(("numba.", "memtrace.kernels")):
        value = getattr(value, "py_func", None) or getattr(value, "function", None)
    return value if isinstance(value, FunctionType) else None


def reachable_modules(*modules: ModuleType) -> list[ModuleType]:
    """Return the modules, and all modules from which these import a function or which they import whole; sorted by name."""
    found: dict[str, ModuleType] = {}
    todo = list(modules)
    while todo:
        module = todo.pop()
        if module.__name__ in found:
            continue
        found[module.__name__] = module
        todo += [sys.modules[f.__module__] for f in plain_functions(module)]
        todo += [m for m in vars(module).values() if isinstance(m, ModuleType) and is_ours(m.__name__)]
    return [found[name] for name in sorted(found)]


def is_ours(name: str) -> bool:
    """Return whether a module's source is followed: the package's, a policy plug-in's, or a file of no installed library."""
    if name.partition(".")[0] == "memtrace":
        return ".bound_" not in name
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py") or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    installed = {"site-packages", "dist-packages"} & set(Path(path).parts)
    return not installed or plugins.package_of(name, "policies") is not None


def digest(modules: Iterable[ModuleType]) -> str:
    """Return 12 hex digits of the code of the modules and of the constants in them.

    Of a package that adds policies all sources count, since a module may take constants from any of them.
    """
    modules = list(modules)
    text = hashlib.sha256()
    for each in sorted({module_digest(module) for module in modules}):
        text.update(each)
    for package in sorted({found for m in modules if (found := plugins.package_of(m.__name__, "policies"))}):
        text.update(plugins.sources_digest(package))
    return text.hexdigest()[:12]


@cache
def module_digest(module: ModuleType) -> bytes:
    """Return the SHA-256 of a module's code and of its constants, which it may have imported."""
    text = hashlib.sha256()
    for part in code_parts(code_of(module)):
        text.update(part)
    for name, value in sorted(vars(module).items()):
        # Compiled code cannot read what may change, such as a dict.
        if not name.startswith("__") and not isinstance(value, dict | list | set):
            text.update(f"{name}={constant_text(value)}\0".encode())
    return text.digest()


def code_of(module: ModuleType) -> CodeType | None:
    """Return the code of a module: what it keeps as ``__code__``, or that of its file; None for a module made in memory."""
    kept = vars(module).get("__code__")
    if isinstance(kept, CodeType):
        return kept
    get_code = getattr(getattr(module.__spec__, "loader", None), "get_code", None)
    if get_code is not None:
        found = get_code(module.__name__)
        return found if isinstance(found, CodeType) else None
    file = getattr(module, "__file__", None)
    return compile(Path(file).read_bytes(), "", "exec", dont_inherit=True) if file else None


def code_digest(code: CodeType) -> str:
    """Return 12 hex digits of what a code object computes."""
    text = hashlib.sha256()
    for part in code_parts(code):
        text.update(part)
    return text.hexdigest()[:12]


def code_parts(code: CodeType | None) -> Iterable[bytes]:
    """Yield what a code object computes as bytes: instructions, names and constants, but not file and line numbers."""
    if code is None:
        return
    names = code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    yield repr((names, counts)).encode()
    yield code.co_code
    yield code.co_exceptiontable
    constants = code.co_consts
    if has_docstring(code):
        constants = constants[1:]
    for constant in constants:
        if isinstance(constant, CodeType):
            yield from code_parts(constant)
        else:
            yield constant_text(constant).encode()


def has_docstring(code: CodeType) -> bool:
    """Return whether the first constant of a code object is the docstring of a function, which no instruction reads."""
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & HAS_DOCSTRING)
    function = OPTIMIZED | NEW_LOCALS
    named = code.co_flags & function == function and not code.co_name.startswith("<")
    return named and bool(code.co_consts) and isinstance(code.co_consts[0], str)


def constant_text(value: Any) -> str:
    """Return a constant as a text that two equal constants of one type share, and other values by their type only."""
    if isinstance(value, SIMPLE):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, tuple):
        return f"{type(value).__qualname__}({','.join(map(constant_text, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(constant_text, value)))}}}"
    if isinstance(value, type):
        fields = getattr(value, "_fields", None) if issubclass(value, tuple) else None
        return f"type {value.__qualname__} {fields} {getattr(value, '_field_defaults', None)!r}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype!r} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return type(value).__qualname__
