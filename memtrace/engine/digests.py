"""Find the source files that a policy is made of, and compute the digest of their text under which compiled code is cached."""

import hashlib
import inspect
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import memtrace.contract
import memtrace.engine


def functions_of(module: ModuleType) -> list[FunctionType]:
    """The functions a module defines or imports, but for installed libraries' and the standard library's."""
    return [f for f in vars(module).values() if isinstance(f, FunctionType) and is_ours(f.__module__)]


def reachable_modules(*modules: ModuleType) -> list[ModuleType]:
    """The modules and every one from which they import a function or which they import whole."""
    found: dict[str, ModuleType] = {}
    todo = list(modules)
    while todo:
        module = todo.pop()
        if module.__name__ in found:
            continue
        found[module.__name__] = module
        todo += [sys.modules[f.__module__] for f in functions_of(module)]
        todo += [m for m in vars(module).values() if isinstance(m, ModuleType) and is_ours(m.__name__)]
    return [found[name] for name in sorted(found)]


def is_ours(name: str) -> bool:
    """Whether a module's source is followed: the package's own, and files that are no installed library."""
    if name.partition(".")[0] == "memtrace":
        return ".bound_" not in name
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    return "site-packages" not in Path(path).parts and "dist-packages" not in Path(path).parts


def digest(modules: list[ModuleType]) -> str:
    """Return 12 hex digits of the text of the modules, of the engine, and of the contract, whose defaults the loop calls."""
    folders = (*memtrace.engine.__path__, *memtrace.contract.__path__)
    engine = [path for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    files = [Path(inspect.getsourcefile(m) or "") for m in modules] + engine
    text = hashlib.sha256()
    for file in dict.fromkeys(files):
        text.update(file.read_bytes())
    return text.hexdigest()[:12]
