"""Make a policy of a module object, or of functions that are defined anywhere, such as in the cell of a notebook.

Copies of the functions are put into a module of their own. Its name has a digest of their byte code, of the functions that they
call, and of the constants that they read. So a function that was defined anew is compiled anew, and one that was not is found
again in the compile cache, in any process. What a function reads besides (an array, an object) cannot be told apart by its text:
such a policy is compiled for this process only.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from memtrace.contract.policy import constants, functions
from memtrace.engine.digests import is_ours
from memtrace.errors import PolicyError

HELPERS = "memtrace_helpers"  # attribute of a module made here: the functions that its policy functions call, by name
UNSAVED = "memtrace_unsaved"  # attribute: what is compiled of the module is not kept on disk
Plain = (int, float, bool, str, bytes, type(None))  # constants whose text says all of them


def module_of(pieces: Mapping[str, Any], name: str) -> ModuleType:
    """Return a module with the functions and constants ``pieces`` of a policy, by their names in the contract, and ``State``.

    The same pieces give the same module. Raises PolicyError for a piece that the contract does not know.
    """
    known = {each.name for each in functions()}
    allowed = {*known, *(each for each, _, _ in constants()), "State"}
    for piece, value in pieces.items():
        if piece not in allowed:
            raise PolicyError(f"{name}: a policy has no {piece}; docs/policies.md has all functions and constants")
        if piece in known and not isinstance(value, FunctionType):
            raise PolicyError(f"{name}: {piece} is no plain function: {value!r}")
    found = {piece: value for piece, value in pieces.items() if value is not None}
    made = Fingerprint()
    for piece in sorted(found):
        made.add(piece, found[piece])
    full = f"{name}_{made.text.hexdigest()[:12]}"
    if full not in sys.modules:
        module = ModuleType(full, getattr(found.get("alloc"), "__doc__", None))
        module.__file__ = None
        copies = Copies(full)
        vars(module).update({piece: copies.of(value) for piece, value in found.items()})
        vars(module)[HELPERS] = {f"helper_{i}": helper for i, helper in enumerate(copies.made.values())}
        vars(module)[UNSAVED] = made.unsaved
        vars(module).update({f"module_{alias}": each for alias, each in made.modules.items()})
        sys.modules[full] = module
    return sys.modules[full]


def pieces_of(module: ModuleType) -> dict[str, Any]:
    """Return the functions and constants of the contract that a module object has, and its ``State``."""
    own = vars(module)
    names = [*(each.name for each in functions()), *(each for each, _, _ in constants()), "State"]
    return {name: own[name] for name in names if name in own}


class Fingerprint:
    """The digest of functions with all that they reach by name."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.text = hashlib.sha256()
        self.modules: dict[str, ModuleType] = {}
        self.unsaved = False  # something was reached of which no digest can be made
        self.seen: set[int] = set()

    def add(self, name: str, value: Any) -> None:
        """Add what a name stands for: a function with all that it reads, a constant, or something else."""
        self.text.update(name.encode() + b"=")
        if isinstance(value, FunctionType) and is_own(value):
            self.add_function(value)
        elif isinstance(value, (*Plain, tuple)):
            self.text.update(repr(value).encode())
            self.unsaved |= isinstance(value, tuple) and not all(isinstance(each, Plain) for each in value)
        elif isinstance(value, ModuleType):
            self.text.update(value.__name__.encode())
        elif isinstance(value, type):
            self.text.update(f"{value.__module__}.{value.__qualname__} {getattr(value, '_fields', '')}".encode())
        elif hasattr(value, "__module__") and hasattr(value, "__name__"):
            self.text.update(f"{value.__module__}.{value.__name__}".encode())
        else:
            self.text.update(str(id(value)).encode())
            self.unsaved = True

    def add_function(self, function: FunctionType) -> None:
        """Add a function's byte code, and all that it reads; functions of installed modules count by their names."""
        if id(function) in self.seen:
            return
        self.seen.add(id(function))
        self.text.update(f"{function.__module__}.{function.__qualname__}{function.__defaults__}".encode())
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        self.add_code(function.__code__)
        for name in names_of(function.__code__):
            if name in cells:
                self.reached(name, cells[name].cell_contents)
            elif name in function.__globals__:
                self.reached(name, function.__globals__[name])

    def reached(self, name: str, value: Any) -> None:
        """Add what a function reads."""
        if isinstance(value, ModuleType):
            self.modules[name] = value
        self.add(name, getattr(value, "py_func", value))  # of a function that was compiled with numba already

    def add_code(self, code: CodeType) -> None:
        """Add byte code with its constants; not the lines, which differ each time a cell is run."""
        self.text.update(code.co_code + repr(code.co_names).encode() + repr(code.co_varnames).encode())
        for value in code.co_consts:
            if isinstance(value, CodeType):
                self.add_code(value)
            else:
                self.text.update(repr(value).encode())


class Copies:
    """Copies of functions, which read what their names stand for now, whatever is assigned to the names later."""

    def __init__(self, module: str) -> None:
        """Begin with no copies; ``module`` is the name of the module that they will be in."""
        self.module = module
        self.made: dict[int, FunctionType] = {}  # by the identity of the original
        self.names: dict[int, dict[str, Any]] = {}  # globals of the copies, by the identity of the originals' globals

    def of(self, value: Any) -> Any:
        """Return the copy of a function of the user's own, with copies of those that it calls; any other value as it is."""
        if not isinstance(value, FunctionType) or not is_own(value) or is_of_package(value):
            return value
        if id(value) not in self.made:
            names = self.names.setdefault(id(value.__globals__), dict(value.__globals__))
            cells = tuple(CellType(cell.cell_contents) for cell in value.__closure__ or ())
            copy = FunctionType(value.__code__, names, value.__name__, value.__defaults__, cells or None)
            copy.__kwdefaults__, copy.__annotations__ = value.__kwdefaults__, value.__annotations__
            copy.__qualname__, copy.__doc__, copy.__module__ = value.__qualname__, value.__doc__, self.module
            vars(copy).update(vars(value))
            self.made[id(value)] = copy
            for name in names_of(value.__code__):
                if name in names:
                    names[name] = self.of(names[name])
            for cell in cells:
                cell.cell_contents = self.of(cell.cell_contents)
        return self.made[id(value)]


def is_own(function: FunctionType) -> bool:
    """Return whether a function is the user's or memtrace's, and none of an installed library."""
    module = sys.modules.get(function.__module__)
    return getattr(module, "__file__", None) is None or is_ours(function.__module__)


def is_of_package(function: FunctionType) -> bool:
    """Return whether a function is memtrace's own; a function that was made without a module is not."""
    return (function.__module__ or "").partition(".")[0] == "memtrace"


def names_of(code: CodeType) -> list[str]:
    """Return the names that byte code, and code within it, reads from outside, each once."""
    names = [*code.co_names, *code.co_freevars]
    for value in code.co_consts:
        if isinstance(value, CodeType):
            names += names_of(value)
    return list(dict.fromkeys(names))
