"""What can be said in a policy's compiled functions, and where a policy's text says something else.

The functions that the loop calls are compiled, and so is every function of the user's files that they call. Compiled code has
whole numbers, tuples, arrays, and calls. It allocates nothing, so it makes no lists, dicts, texts or arrays. Some of the rest
does compile, and gives other numbers than it seems to (``engine.fractions``). Only what is certain is reported here.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from memtrace.contract.policy import functions, functions_of
from memtrace.engine.policy_objects import is_own

INTEGERS = ("alloc", "resize", "reserved", "largest_hole", "releasable", "record", "address_of", "most_pieces")  # return one
INSTEAD = "keep it in an array of the state, made in init"
SYNTAX: dict[type[ast.AST], tuple[str, str]] = {
    ast.JoinedStr: ("an f-string makes a text", "leave the text out; init may raise ValueError with one"),
    ast.Dict: ("a dict is made", f"{INSTEAD}: an entry per block is found by request.block"),
    ast.DictComp: ("a dict is made", f"{INSTEAD}: an entry per block is found by request.block"),
    ast.Set: ("a set is made", f"{INSTEAD}, with a 0 or 1 for each number that may be in it"),
    ast.SetComp: ("a set is made", f"{INSTEAD}, with a 0 or 1 for each number that may be in it"),
    ast.List: ("a list is made", f"{INSTEAD}, with the number of its entries in use in another; a tuple may be written instead"),
    ast.ListComp: ("a list is made", "write a for loop over an array of the state"),
    ast.GeneratorExp: ("a generator is made", "write a for loop"),
    ast.Yield: ("it is a generator", "write a for loop where it is called"),
    ast.Try: ("exceptions are caught", "test for the case with if before it arises"),
    ast.With: ("there is a with statement", "leave it out: a compiled function opens nothing"),
    ast.Import: ("there is an import", "import at the top of the file"),
    ast.ImportFrom: ("there is an import", "import at the top of the file"),
    ast.Global: ("a global variable is set", "let the state have an array of one element for it, and write state.name[0] = ..."),
    ast.ClassDef: ("a class is made", "let init make what is needed"),
}
MADE = {
    "list": "a list", "dict": "a dict", "set": "a set", "sorted": "a list", "str": "a text", "open": "a file",
}  # fmt: skip
ARRAYS = {"zeros", "ones", "empty", "full", "array", "arange", "append", "concatenate", "argsort", "sort", "delete", "insert"}
WHOLE = {"int", "round", "len", "int64", "int32", "uint64"}  # calls whose result is a whole number whatever they are given


@dataclass(frozen=True)
class Problem:
    """Something in a policy's text that is wrong for certain: where, what, and what to write instead."""

    file: str
    line: int
    function: str
    what: str
    instead: str
    first: bool = False  # other problems may follow from it

    def __str__(self) -> str:
        """Return the problem as a message of three lines: place and line of the text, what is wrong, what to try."""
        place = f"{short(self.file)}:{self.line}: {source_line(self.file, self.line)}"
        return f"{place}\nin {self.function}, {self.what}\ntry: {self.instead}"


class Text:
    """One function of a policy: its syntax tree with the line numbers of its file."""

    def __init__(self, function: FunctionType) -> None:
        """Read and parse the function's text."""
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        ast.increment_lineno(tree, first - 1)
        self.function, self.name = function, function.__name__
        self.file = function.__code__.co_filename
        self.tree: Any = tree.body[0]

    def problem(self, node: ast.AST, what: str, instead: str, first: bool = False) -> Problem:
        """Return a problem of this function; ``first``: others may follow from it."""
        return Problem(self.file, getattr(node, "lineno", self.tree.lineno), self.name, what, instead, first)


def source_line(file: str, line: int) -> str:
    """Return a line of a file without the blanks around it; empty if it cannot be read."""
    import linecache

    return linecache.getline(file, line).strip()


@cache
def problems(module: ModuleType) -> tuple[Problem, ...]:
    """Return what in a policy's compiled functions cannot be compiled, or answers with no whole number; in order of lines."""
    found = [
        problem
        for text in texts(module)
        for problem in (*_syntax(text), *_names(text), *_returns(text, module), *_calls(text, module))
    ]
    found += recursions(module)
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.file, not each.first, each.line)))


def files_of(module: ModuleType) -> set[str]:
    """Return the files of a user's policy: its own, and those of the modules beside it whose functions are compiled."""
    return {text.file for text in texts(module)} | {module.__file__ or ""}


@cache
def texts(module: ModuleType) -> tuple[Text, ...]:
    """Return the functions of a user's own files that are compiled, none for a policy of memtrace.

    Those of a policy that another takes in (``over``) count too.
    """
    own = functions_of(module)
    todo = [own[each.name] for each in functions() if each.entry.compiled and each.name in own]
    todo += [found for name, found in vars(module).items() if name.startswith("inner_") and isinstance(found, FunctionType)]
    found: dict[FunctionType, Text] = {}
    while todo:
        function = inspect.unwrap(todo.pop())
        if not isinstance(function, FunctionType) or function in found or not _is_users(function):
            continue
        try:
            text = Text(function)
        except (OSError, TypeError, SyntaxError, IndexError):
            continue
        if isinstance(text.tree, ast.FunctionDef):
            found[function] = text
            todo += called(text)
    return tuple(found.values())


def _is_users(function: FunctionType) -> bool:
    """Return whether a function is of a user's own file."""
    return function.__module__.partition(".")[0] != "memtrace" and is_own(function)


def called(text: Text) -> list[Any]:
    """Return the functions that a function names, of its own module or of another."""
    space = text.function.__globals__
    found = []
    for node in ast.walk(text.tree):
        if isinstance(node, ast.Name):
            found.append(space.get(node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            holder = space.get(node.value.id)
            found.append(vars(holder).get(node.attr) if isinstance(holder, ModuleType) else None)
    return [each for each in found if isinstance(each, FunctionType)]


def _syntax(text: Text) -> Iterator[Problem]:
    """Yield what the compiler has no word for."""
    parameters = {each.arg for each in text.tree.args.args}
    tuples = parameters & {"state", "request"}
    for node in ast.walk(text.tree):
        known = SYNTAX.get(type(node))
        if known is not None:
            yield text.problem(node, known[0], known[1])
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in tuples:
                name = f"{target.value.id}.{target.attr}"
                if target.value.id == "state":
                    what = f"the field {target.attr} of the state, a NamedTuple, is set"
                    yield text.problem(
                        node, what, f"a field that changes is an array: write {name}[0], and let init make np.zeros(1, np.int64)"
                    )
                else:
                    yield text.problem(
                        node, f"{name} is set, but the request belongs to the engine", "use a variable of your own"
                    )
            if isinstance(target, ast.Tuple) and isinstance(node, ast.Assign) and _is_name(node.value, tuples):
                yield text.problem(node, "the state is unpacked", "read its fields by name, as in state.used[0]")
        if isinstance(node, ast.Subscript) and _is_name(node.value, tuples):
            what = f"{node.value.id} is indexed, but it is a NamedTuple"  # type: ignore[attr-defined]
            yield text.problem(node, what, "read its fields by name, as in state.used[0] and request.size")


def _is_name(node: ast.AST, names: set[str]) -> bool:
    """Return whether a node is one of the names."""
    return isinstance(node, ast.Name) and node.id in names


def _names(text: Text) -> Iterator[Problem]:
    """Yield calls of what makes a list, a text or an array, names that nothing defines, and arrays of the module that are set."""
    space, local = text.function.__globals__, _assigned(text.tree)
    known = {*vars(builtins), *space, *local, *text.function.__code__.co_freevars}
    for node in ast.walk(text.tree):
        if isinstance(node, ast.Call):
            called, name = node.func, getattr(node.func, "id", "")
            if name in MADE and name not in space:
                yield text.problem(node, f"{MADE[name]} is made", INSTEAD)
            if isinstance(called, ast.Attribute) and _is_numpy(called.value, space) and called.attr in ARRAYS:
                yield text.problem(node, f"np.{called.attr} makes an array, and compiled code allocates nothing", INSTEAD)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in known:
            yield text.problem(node, f"the name {node.id} is not defined", f"import or define {node.id} at the top of the file")
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and _is_name(node.value, set(space) - local):
            what = f"{getattr(node.value, 'id', '')}, a variable of the module, is changed: replays would share it"
            yield text.problem(node, f"{what}, and compiled code has a copy", "let the state have an array for it")
        if abs(_number(node)) >= 1 << 64:
            yield text.problem(node, "the number does not fit in 64 bits", "stay within -2^63 to 2^63 - 1")


def _number(node: ast.AST) -> int:
    """Return the value of a whole number that is written as itself, as 1 << 40 or as 2**40; 0 for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return int(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift | ast.Pow):
        left, right = _number(node.left), _number(node.right)
        if 0 < left and 0 < right < 128:
            return min(left << right if isinstance(node.op, ast.LShift) else left**right, 1 << 64)
    return 0


def _is_numpy(node: ast.AST, space: dict[str, Any]) -> bool:
    """Return whether a node is a name of numpy."""
    return isinstance(node, ast.Name) and getattr(space.get(node.id), "__name__", "") == "numpy"


def _assigned(tree: ast.AST) -> set[str]:
    """Return the parameters and variables of a function, with those of functions inside it."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    inner = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {
        (a.asname or a.name).partition(".")[0]
        for n in ast.walk(tree)
        if isinstance(n, ast.Import | ast.ImportFrom)
        for a in n.names
    }
    return names | inner | imported | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _returns(text: Text, module: ModuleType) -> Iterator[Problem]:
    """Yield the ways on which a function that has to answer with a number, or does on other ways, answers None."""
    own = functions_of(module)
    asked = text.name in INTEGERS and own.get(text.name) is text.function
    returns = [node for node in own_nodes(text.tree) if isinstance(node, ast.Return)]
    empty = [r for r in returns if r.value is None or (isinstance(r.value, ast.Constant) and r.value.value is None)]
    if not asked and len(empty) == len(returns):
        return
    answer = "-1 (no room), an address" if text.name in ("alloc", "resize") else "a number"
    for node in empty:
        yield text.problem(node, "None is returned", f"return {answer}")
    if not _ends(text.tree.body):
        what = "a way through it ends without return, and gives None"
        last = text.tree.body[-1]
        yield Problem(text.file, last.end_lineno or last.lineno, text.name, what, f"end it with return {answer.split(',')[0]}")
    if asked:
        for node in returns:
            if isinstance(node.value, ast.Tuple | ast.Constant) and not isinstance(getattr(node.value, "value", 0), int | None):
                yield text.problem(node, "something else than a whole number is returned", f"return {answer}")
            elif isinstance(node.value, ast.Tuple):
                yield text.problem(node, "a tuple is returned", f"return {answer}, and keep the rest in the state")


def _calls(text: Text, module: ModuleType) -> Iterator[Problem]:
    """Yield parameters that are not those of the contract, and calls that give a function other than its parameters."""
    for each in functions():
        if functions_of(module).get(each.name) is text.function:
            asked = [name for name in each.signature.partition("(")[2].rstrip(")").split(", ") if name]
            if not _takes(text.function, len(asked), set()):
                yield text.problem(
                    text.tree,
                    f"the parameters are not those that it is called with: {each.signature}",
                    f"write def {each.signature}:",
                    True,
                )
    for node in ast.walk(text.tree):
        if not isinstance(node, ast.Call) or any(isinstance(each, ast.Starred) for each in node.args):
            continue
        target = text.function.__globals__.get(node.func.id) if isinstance(node.func, ast.Name) else None
        words = {each.arg for each in node.keywords}
        if (
            isinstance(target, FunctionType)
            and _is_users(target)
            and None not in words
            and not _takes(target, len(node.args), words)
        ):
            shown = ", ".join(inspect.signature(target).parameters)
            what = (
                f"{target.__name__} is called with {len(node.args) + len(words)} arguments, but it is {target.__name__}({shown})"
            )
            yield text.problem(node, what, "give it what its def line has")


def _takes(function: FunctionType, count: int, words: set[str | None]) -> bool:
    """Return whether a function can be called with so many arguments and these keywords."""
    try:
        inspect.signature(function).bind(*range(count), **{str(word): 0 for word in words})
    except TypeError:
        return False
    return True


def own_nodes(tree: Any) -> Iterator[ast.AST]:
    """Yield the nodes of a function without those of functions inside it."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def _ends(body: list[ast.stmt]) -> bool:
    """Return whether no way leads behind a list of statements."""
    last = body[-1]
    if isinstance(last, ast.Return | ast.Raise):
        return True
    if isinstance(last, ast.If):
        return bool(last.orelse) and _ends(last.body) and _ends(last.orelse)
    if isinstance(last, ast.While):
        return (
            isinstance(last.test, ast.Constant)
            and bool(last.test.value)
            and not any(isinstance(n, ast.Break) for n in ast.walk(last))
        )
    return isinstance(last, ast.Try | ast.With | ast.Match)


def recursions(module: ModuleType) -> list[Problem]:
    """Return the functions that call themselves, at once or through others, at the line of a call that closes the ring."""
    known = {text.function: text for text in texts(module)}
    calls = {function: [each for each in called(text) if each in known] for function, text in known.items()}

    def reaches(start: FunctionType, end: FunctionType) -> bool:
        seen: set[FunctionType] = set()
        todo = [start]
        while todo:
            function = todo.pop()
            if function is end:
                return True
            if function not in seen:
                seen.add(function)
                todo += calls[function]
        return False

    found = []
    for function, text in known.items():
        for node in ast.walk(text.tree):
            target = text.function.__globals__.get(node.id) if isinstance(node, ast.Name) else None
            if isinstance(target, FunctionType) and target in known and reaches(target, function):
                found.append(
                    text.problem(
                        node, f"{text.name} calls itself", "write a loop; where it has to remember, with an array of the state"
                    )
                )
                break
    return found


def short(file: str) -> str:
    """Return a file's name as it is shown: relative to the working directory if it is below it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file
