"""The form that a policy module has to have: its functions, the parameters of ``init``; and names that look misspelt.

What breaks the contract is refused before anything is replayed. A name that looks misspelt is only hinted at, since a policy may
have functions and constants of its own.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from memtrace.contract.constants import COUNTED
from memtrace.contract.policy import constants, constants_of, function_of, functions, functions_of, has_ledger, required
from memtrace.engine.dialect import short, source_line
from memtrace.errors import PolicyError
from memtrace.names import nearest

# What other programs call a function or a constant of the contract.
OTHER_NAMES = {
    "malloc": "alloc",
    "allocate": "alloc",
    "dealloc": "free",
    "deallocate": "free",
    "release": "free",
    "realloc": "resize",
    "reallocate": "resize",
    "footprint": "reserved",
    "reserve": "reserved",
    "stats": "survey",
    "grow": "enlarge",
    "shrink": "trim",
    "touch": "access",
    "MAX_ALIGNMENT": "MAX_ALIGN",
    "COALESCE": "COALESCES",
}
LEDGER_SAYS = ("reserved", "survey")  # functions that a policy with a ledger may keep, though the ledger says it
KINDS = "an option is a whole number, true or false, or a text"


def check_form(path: str, module: ModuleType) -> None:
    """Raise PolicyError if a module lacks what the contract requires, or has it in another form; ``path`` begins the message."""
    check_functions(path, module)
    check_parameters(path, module)
    unknown_words = set(constants_of(module).NOT_COUNTED) - set(COUNTED)
    if unknown_words:
        raise PolicyError(f"{path}: NOT_COUNTED has {min(unknown_words)!r}; its words are {', '.join(COUNTED)}")


def check_functions(path: str, module: ModuleType) -> None:
    """Raise PolicyError if a policy lacks a function that it needs, or has one that would not be called."""
    ledger = has_ledger(module)
    needed = required(module)
    for name in needed:
        if function_of(module, name) is None:
            kind = "whose State has a ledger" if ledger else "whose State has no ledger"
            text = f"{path} has no function {name}; a policy {kind} needs {', '.join(needed)}"
            meant = [own for own, known in misspelt(module) if known == name]
            raise PolicyError(f"{text}\ntry: {name} for {meant[0]}" if meant else text)
    if ledger:
        return
    idle = [each.name for each in functions() if each.entry.ledger and each.name in functions_of(module)]
    if idle:
        raise PolicyError(
            f"{place(path, function_of(module, idle[0]))}\n"
            f"{idle[0]} is called only where the state has a ledger: a field ledger of a class called State\n"
            "try: a ledger (docs/policies.md), or another name for the function if it is one of your own"
        )


def check_parameters(path: str, module: ModuleType) -> None:
    """Raise PolicyError unless ``init`` takes capacity, max_live, and options with defaults of which each is int, bool or str."""
    where = place(path, module.init)
    parameters = list(inspect.signature(module.init).parameters.values())
    first = [each.name.strip("_") for each in parameters[:2] if is_plain(each) and each.default is each.empty]
    if first != ["capacity", "max_live"]:
        raise PolicyError(
            f"{where}\ninit{inspect.signature(module.init)} has to begin with capacity and max_live, which have no default\n"
            "try: def init(capacity, max_live, option=default, ...)"
        )
    for each in parameters[2:]:
        if each.kind is each.VAR_KEYWORD:
            continue
        if each.kind is each.VAR_POSITIONAL or each.default is each.empty:
            raise PolicyError(f"{where}\nthe option {each.name} of init has no default\ntry: {each.name}=0, or another default")
        if not isinstance(each.default, int | str):
            kind = type(each.default).__name__
            raise PolicyError(
                f"{where}\nthe option {each.name}={each.default!r} of init is a {kind}; {KINDS}\ntry: {instead_of(each)}"
            )


def place(path: str, function: Any) -> str:
    """Return the file, line and text where a function begins, as the first line of a message; ``path`` if it has no text."""
    code = getattr(function, "__code__", None)
    text = "" if code is None else source_line(code.co_filename, code.co_firstlineno)
    return f"{short(code.co_filename)}:{code.co_firstlineno}: {text}" if code is not None and text else f"{path}:"


def is_plain(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter can be given by its place in a call."""
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)


def instead_of(parameter: inspect.Parameter) -> str:
    """Return what to write instead of an option whose default is of no kind that options have."""
    if isinstance(parameter.default, float) and abs(parameter.default) < 1 << 50:  # which NaN is not
        return f"{parameter.name}={round(100 * parameter.default)} for percent, or a text of which init makes a number"
    return f"{parameter.name}=0, or a text of which init makes what it needs"


def hints(module: ModuleType) -> list[str]:
    """Return a line for each name of a user's policy that nothing uses and that looks like one of the contract, misspelt."""
    return [f"nothing uses {own}; did you mean {known}?" for own, known in misspelt(module)]


def misspelt(module: ModuleType) -> list[tuple[str, str]]:
    """Return the names that a user's policy file defines and does not use, each with the name of the contract nearest to it.

    Names that begin with an underscore, and those of the contract itself, are left out; so is a name of the contract that the
    policy has.
    """
    if module.__name__.startswith("memtrace.") or module.__file__ is None:
        return []
    defined = unused(Path(module.__file__).read_bytes())
    known = {"function": [each.name for each in functions()], "constant": [name for name, _, _ in constants()]}
    found = []
    for own, kind in defined.items():
        if own.startswith("_") or own in (*known["function"], *known["constant"]):
            continue
        free = [name for name in known[kind] if name not in vars(module)]
        near = OTHER_NAMES.get(own, near_name(own, free))
        if near in free:
            found.append((own, near))
    return found


def near_name(own: str, known: Iterable[str]) -> str | None:
    """Return the name of `known` that is the same without case and underscores, or so near that a letter or two differ."""
    plain = own.replace("_", "").lower()
    for name in known:
        if name.replace("_", "").lower() == plain:
            return name
    likely = nearest(own, known)
    return likely if likely is not None and abs(len(likely) - len(own)) <= 2 and likely[0].lower() == own[0].lower() else None


def unused(text: bytes) -> dict[str, str]:
    """Return the functions and constants that a source defines at its top and does not read, each with what it is."""
    tree = ast.parse(text)
    defined: dict[str, str] = {}
    for each in tree.body:
        if isinstance(each, ast.FunctionDef):
            defined[each.name] = "function"
        targets: list[Any] = (
            each.targets if isinstance(each, ast.Assign) else [each.target] if isinstance(each, ast.AnnAssign) else []
        )
        defined |= {target.id: "constant" for target in targets if isinstance(target, ast.Name)}
    read = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
    return {name: kind for name, kind in defined.items() if name not in read}
