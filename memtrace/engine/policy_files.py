"""Load a user's policy file as a module: anew when the file, or a module beside it that it imports, has changed.

The module's name has a digest of the code of all these sources, so each version is a module of its own. What is compiled for one
version is never taken for another, in this process or from disk. Comments do not make another version, nor does another folder.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from memtrace.digests import code_digest
from memtrace.errors import PolicyError, UsageError

_files: dict[str, str] = {}  # name of a module beside a policy file -> digest of the file it was imported from, and its path


def load_module(path: Path) -> ModuleType:
    """Return a policy file as a module; the same module as long as its sources are the same.

    Raises UsageError if there is no such file, PolicyError if it cannot be loaded.
    """
    if not path.is_file():
        raise UsageError(f"there is no policy file {path}")
    full = path.resolve()
    texts = sources(full)
    digest = hashlib.sha256()
    for file, text in texts.items():
        digest.update(f"{file.relative_to(full.parent)} {digest_of(text)}\n".encode())
    name = f"{full.stem}_{digest.hexdigest()[:8]}"
    if name not in sys.modules:
        sys.modules[name] = executed(name, path, full, texts)
    return sys.modules[name]


def digest_of(text: bytes) -> str:
    """Return the digest of a source's code, or of the text itself if it is no Python."""
    try:
        return code_digest(compile(text, "", "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return hashlib.sha256(text).hexdigest()


def executed(name: str, path: Path, full: Path, texts: dict[Path, bytes]) -> ModuleType:
    """Return a new module of this name made from the file ``full``; ``path`` is how the user named it."""
    from memtrace.engine.explanation import hint_of, import_hint

    module = ModuleType(name)
    module.__file__ = str(full)
    sys.modules[name] = module
    try:
        with beside(full.parent, texts):
            code = compile(texts[full], str(full), "exec", dont_inherit=True)
            vars(module)["__code__"] = code
            exec(code, vars(module))
    except Exception as error:
        del sys.modules[name]
        hint = hint_of(type(error).__name__, str(error)) or import_hint(error)
        what = f"{path} cannot be loaded: {type(error).__name__}: {error}{line_of(error, full)}"
        raise PolicyError(f"{what}\ntry: {hint}" if hint else what) from error
    return module


def line_of(error: Exception, full: Path) -> str:
    """Return the line of the policy file at which it failed, as text for a message; empty where the message has it already."""
    if isinstance(error, SyntaxError):
        return ""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(full):
            found = trace.tb_lineno
        trace = trace.tb_next
    return "" if found is None else f" (line {found})"


@contextmanager
def beside(folder: Path, texts: dict[Path, bytes]) -> Iterator[None]:
    """Have imports find the modules in ``folder`` in the text of ``texts``, and leave no files of byte code there.

    Modules of these names that were imported from other files or other texts are forgotten, so that they are imported again.
    """
    for file, text in texts.items():
        name = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        digest = f"{hashlib.sha256(text).hexdigest()} {file}"
        if name in sys.modules and _files.get(name, digest) != digest:
            del sys.modules[name]
        _files[name] = digest
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = wrote


def sources(full: Path) -> dict[Path, bytes]:
    """Return the text of a policy file, and of all files in its folder and below that it imports, directly or not."""
    folder, found, todo = full.parent, {}, [full]
    while todo:
        file = todo.pop()
        if file in found:
            continue
        found[file] = file.read_bytes()
        for name in imports(found[file]):
            place = folder.joinpath(*name.split("."))
            todo += [each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()]
    return {file: found[file] for file in [full, *sorted(set(found) - {full})]}


def imports(text: bytes) -> set[str]:
    """Return the dotted names that a source imports, with all their packages; none for a text that is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names]
    return {".".join(each[:count]) for each in parts for count in range(1, len(each) + 1)}
