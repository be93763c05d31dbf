"""Say in words what is wrong in a user's policy: what the compiler, Python or the policy's own text says of it.

A message has three lines: the file, the line and its text; what is wrong; and what to write instead.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from memtrace.contract.policy import functions, functions_of
from memtrace.engine.dialect import Problem, files_of, problems, short, source_line, texts
from memtrace.engine.fractions import fractions
from memtrace.errors import MemtraceError, PolicyError

CHECK = "memtrace policies --check FILE --quick runs it in the interpreter, where a debugger can stop in it"
METHODS = r"typing of call at (?s:.)*?\.(max|min|sum|argmax|argmin|any|all|copy|sort|mean|tolist|astype|reshape)\("
CALLED = re.compile(r"(\w+)\(\) (?:takes|missing|got)")  # how Python names the function of a call that does not fit
# Lines of the compiler's messages that say nothing to the user.
NOISE = re.compile(r"With argument|Overload|Failed in|No implementation of|>>>|There are|- Of which|During|File|\^|raised")
# What the compiler's messages say of mistakes that reading the text does not find: pattern, what is wrong, what to write instead.
COMPILER = (
    (r"lowering .*\[slice\(", "a slice is set to another slice", "write a for loop over its elements"),
    (METHODS, "an array's method {0} is called", "write a for loop over its elements"),
    (r"Unknown attribute '(\w+)' of type .*State", "the state has no field {0}", "give State the field {0}, or mend the name"),
    (r"Unknown attribute '(\w+)'", "there is no {0} in it", "mend the name"),
    (
        r"(?:cannot|Cannot) unify (\S+) and (\S+?) for '(\w+?)(?:\.\d+)?'",
        "the variable {2} has two types, {0} and {1}",
        "use two names",
    ),
    (r"(?:Use of unsupported opcode|unsupported opcode) \((\w+)\)", "compiled code has nothing for {0}", "write it otherwise"),
    (
        r"too (?:few|many) arguments|missing a required argument|takes \d+ positional",
        "a call has the wrong number of arguments",
        "compare it with the function's def line",
    ),
    (r"NameError: name '(\w+)' is not defined", "the name {0} is not defined", "import or define {0} at the top of the file"),
    (r"Untyped global name '(\w+)'", "{0} is of a kind that compiled code does not have", "pass numbers and arrays in the state"),
    (
        r"[Cc]annot cast|Invalid cast|conversion",
        "a value is not of the type that is needed there",
        "let it be a whole number on every way",
    ),
)
# The same for Python's exceptions: the exception's name, a pattern of its text, and what to write instead.
PYTHON = (
    (
        "AttributeError",
        r"can't set attribute",
        "a NamedTuple's field cannot be set: let it be an array of one element, and write state.name[0]",
    ),
    ("AttributeError", r"'State' object has no attribute '(\w+)'", "give State the field {0}, or mend the name"),
    ("AttributeError", r"'Request' object has no attribute", "a request has size, align, stream, tag and block"),
    ("NameError", r"name '(\w+)' is not defined", "import or define {0} at the top of the file"),
    ("ModuleNotFoundError", r"No module named '(\w+)'", "install {0}, or put {0}.py beside the policy's file"),
    ("IndexError", r"", "test the index before: compiled code does not, and would read or write other memory"),
    ("RecursionError", r"", "write a loop: a compiled function cannot call itself"),
    ("FloatingPointError", r"overflow", "stay within 64 bits; compiled code would go on with a wrong number"),
    ("OverflowError", r"", "let the array be of np.int64, and stay within 64 bits"),
    ("ZeroDivisionError", r"", "test for 0 before; compiled code would go on with a wrong number"),
    (
        "MemoryError",
        r"",
        "let arrays have an entry per block (max_live), or let an option bound them; capacity is 2^62 if there is no limit",
    ),
    (
        "ValueError",
        r"Maximum allowed dimension|negative dimensions|array is too big",
        "let arrays have an entry per block (max_live); capacity is 2^62 if there is no limit",
    ),
    ("UnboundLocalError", r"variable '(\w+)'", "give {0} a value on every way to this line"),
)


def explain(error: Exception, policy: ModuleType) -> Exception:
    """Return what the compiler says of a policy that it cannot compile, in words, with the file, the line and a way out.

    For a policy of memtrace itself, the exception is returned as it is.
    """
    if (policy.__name__.startswith("memtrace.policies.") and not texts(policy)) or isinstance(error, MemtraceError):
        return error
    text = str(error)
    files = files_of(policy)
    found = [(file, int(line)) for file, line in re.findall(r'(?:File "|at )([^"\n(]+?)(?:", line | \()(\d+)', text)]
    places = [(full, line) for file, line in found for full in files if Path(full).name == Path(file).name]
    known = problems(policy)
    if known:
        lines = {line for _, line in places}
        return PolicyError(str(next((each for each in known if each.line in lines), known[0])))
    where = (
        f"{short(places[-1][0])}:{places[-1][1]}: {source_line(*places[-1])}"
        if places
        else short(policy.__file__ or policy.__name__)
    )
    for pattern, what, instead in COMPILER:
        match = re.search(pattern, text)
        if match:
            return PolicyError(
                f"{where}\n{what.format(*match.groups())}, so it does not compile\ntry: {instead.format(*match.groups())}"
            )
    said = [line.strip() for line in text.splitlines()]
    said = [
        line[:200]
        for line in said
        if line
        and not re.match(
            r"With argument|Overload|Failed in|No implementation of|>>>|There are|- Of which|Overload|During|File|\^|raised", line
        )
    ]
    return PolicyError(f"{where}\nit does not compile: {said[0] if said else type(error).__name__}\ntry: {CHECK}")


def first_problem(module: ModuleType, state: Any = None) -> str | None:
    """Return the first certain problem of a policy's text as a message, or None; ``state`` is the policy's, if it is made."""
    known = [*problems(module), *fractions(module, state)]
    return str(known[0]) if known else None


def check_state(module: ModuleType, state: Any, interpret: bool) -> None:
    """Raise PolicyError for what would run, with wrong sizes, or cannot be compiled.

    The first is a division whose float becomes an address or a count of bytes. The second is what reading the policy's
    text shows for certain, and a field of the state that is neither array nor number; if it is never compiled (``interpret``)
    the text and the state may be anything.
    """
    state = getattr(state, "inner", state)
    found = fractions(module, state)
    if found:
        raise PolicyError(str(found[0]))
    if interpret or not texts(module):
        return
    known = problems(module)
    if known:
        raise PolicyError(str(known[0]))
    strange = strange_field(state)
    if strange is not None:
        raise PolicyError(f"{short(module.__file__ or module.__name__)}: {strange}")


def strange_field(state: Any) -> str | None:
    """Return what is wrong with a policy's state, as text: it is no NamedTuple, or a field is no array or number; else None."""
    if not isinstance(state, tuple) or not hasattr(state, "_fields"):
        return f"init returned a {type(state).__name__}\ntry: let it return a NamedTuple of numpy arrays and numbers"
    for name, value in fields_of(state):
        if not isinstance(value, np.ndarray | np.generic | int | float):
            return (
                f"the field {name} of the state is a {type(value).__name__}\ntry: a numpy array, or a number that does not change"
            )
    return None


def fields_of(state: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each field of a state, and of the tuples in it."""
    for name, value in zip(getattr(state, "_fields", range(len(state))), state, strict=True):
        if isinstance(value, tuple):
            yield from fields_of(value)
        else:
            yield str(name), value


def said_of(error: BaseException, module: ModuleType, what: str = "") -> str:
    """Return an exception of a policy as a message: the line of the policy, the exception, the case that led to it, a way out."""
    frames = traceback.extract_tb(error.__traceback__)
    files = files_of(module)
    own = [frame for frame in frames if frame.filename in files]
    where = f"{short(own[-1].filename)}:{own[-1].lineno}: {own[-1].line}\n" if own else ""
    kind, text = type(error).__name__, str(error)
    called = CALLED.match(text)
    function = functions_of(module).get(called[1]) if called and not own else None
    if isinstance(function, FunctionType):
        line = function.__code__.co_firstlineno
        where = f"{short(function.__code__.co_filename)}:{line}: {source_line(function.__code__.co_filename, line)}\n"
    lines = [what or f"{kind}: {text}".rstrip(": ")]
    lines += [f"in {note}" for note in getattr(error, "__notes__", ())]
    problem = _at(error, module, own[-1].lineno if own else None)
    hint = problem.instead if problem else hint_of(kind, text)
    lines += [f"try: {hint}"] if hint else []
    return where + "\n".join(lines)


def _at(error: BaseException, module: ModuleType, line: int | None) -> Problem | None:
    """Return the problem of the text on the line of an exception, if there is one."""
    return next((each for each in problems(module) if each.line == line), None)


def import_hint(error: Exception) -> str:
    """Return the nearest name that there is, for an import of a name or a module that memtrace lacks; empty if there is none."""
    from importlib import import_module
    from pkgutil import iter_modules

    from memtrace.names import nearest

    missing = re.search(
        r"No module named '(memtrace[\w.]*)\.(\w+)'|cannot import name '(\w+)' from '(memtrace[\w.]*)'", str(error)
    )
    if not isinstance(error, ImportError) or missing is None:
        return ""
    where, name = (missing[1], missing[2]) if missing[1] else (missing[4], missing[3])
    module = import_module(where)
    there = {*vars(module), *(each.name for each in iter_modules(getattr(module, "__path__", [])))}
    likely = nearest(name, (each for each in there if not each.startswith("_")))
    return f"{likely} in place of {name}" if likely else ""


def hint_of(kind: str, text: str) -> str:
    """Return what to write instead, for an exception by its name and text; empty if nothing is known."""
    for name, pattern, instead in PYTHON:
        match = re.search(pattern, text)
        if match and name == kind:
            return instead.format(*match.groups())
    called = CALLED.match(text)
    if kind == "TypeError" and called:
        signatures = {each.name: each.signature for each in functions()}
        if called[1] == "init":
            return "write def init(capacity, max_live, option=default, ...): each option has a default"
        if called[1] in signatures:
            return f"write def {signatures[called[1]]}:"
        if called[1] == "State":
            return "let State be a NamedTuple: class State(NamedTuple), with a type for each field"
        return f"compare the call with def {called[1]}(...)"
    return ""


@contextmanager
def blamed(*policies: ModuleType) -> Iterator[None]:
    """Raise an exception that a user's policy file causes as a PolicyError with file and line; let all others through."""
    try:
        yield
    except MemtraceError:
        raise
    except Exception as error:
        for module in policies:
            found = said_by(error, module)
            if found is not None:
                raise found from error
        raise


def said_by(error: Exception, module: ModuleType) -> Exception | None:
    """Return the PolicyError that an exception is if a user's policy is its cause, or None."""
    if not texts(module):
        return None
    if type(error).__module__.startswith("numba."):
        return explain(error, module)
    files = files_of(module)
    if any(frame.filename in files for frame in traceback.extract_tb(error.__traceback__)):
        return PolicyError(said_of(error, module))
    known = problems(module)
    if known:
        return PolicyError(str(known[0]))
    called = CALLED.match(str(error))
    return PolicyError(said_of(error, module)) if called and called[1] in functions_of(module) else None
