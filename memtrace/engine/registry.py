"""A policy's name, or the path of a file, or a group -> the policies themselves, with their options read."""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import memtrace.policies
from memtrace.engine.nested import nested
from memtrace.engine.options import Value, options_of, parse_options, text_of
from memtrace.errors import PolicyError, UsageError
from memtrace.names import unknown

GROUP_WORDS = {
    "classic": "first, next, best and worst fit",
    "default": "what run compares if no policy is named",
    "gpu": "allocators of GPU frameworks",
    "all": "every policy that is simulated",
}
REQUIRED = ("init", "alloc", "free")


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy with its options; ``label`` is how it was asked for, and what results call it."""

    label: str
    name: str
    module: ModuleType
    options: dict[str, Value]

    def __reduce__(self) -> tuple[Any, ...]:
        return parse_policy, (self.label,)


@cache
def builtin_policies() -> dict[str, ModuleType]:
    """Every policy of the package by name: a file is the registration. In the order of their ``ORDER``, then by name."""
    found = {}
    for info in (each for each in pkgutil.iter_modules(memtrace.policies.__path__) if not each.ispkg):
        module = importlib.import_module(f"memtrace.policies.{info.name}")
        found[info.name.replace("_", "-")] = module
    return dict(sorted(found.items(), key=lambda item: (getattr(item[1], "ORDER", 100), item[0])))


def group(name: str) -> list[str]:
    """The policies of a group; with the options of its ALSO_WITH too, but for the group of all, which has no real allocators."""
    found = []
    for policy, module in builtin_policies().items():
        if name == "all" and not is_real(module):
            found.append(policy)
        elif name != "all" and name in getattr(module, "GROUPS", ()):
            found += [policy, *(f"{policy}:{options}" for options in getattr(module, "ALSO_WITH", ()))]
    return found


def is_real(module: ModuleType) -> bool:
    """Whether a policy stands for an allocator of this machine, of which only addresses and footprint are known."""
    return getattr(module, "FOOTPRINT_ONLY", False)


def parse_policies(texts: list[str] | tuple[str, ...]) -> list[Policy]:
    """Each text is a group, or ``name:key=value,...``; the same policy asked for twice counts once."""
    labels: list[str] = []
    for text in texts:
        members = group(text) if text in GROUP_WORDS else []
        if text in GROUP_WORDS and not members:
            raise UsageError(f"the group {text} has no policies in this version")
        labels += members or [text]
    return [parse_policy(label) for label in dict.fromkeys(labels)]


def parse_policy(text: str) -> Policy:
    """``name:key=value,key=value``, or the path of a Python file instead of the name."""
    name = split_spec(text, "")[0]
    module = load_file(Path(name)) if name.endswith(".py") else load_builtin(name)
    bare = getattr(module, "BARE", None)
    given = split_spec(text, bare)[1]
    known = options_of(module)
    values = parse_options(name, given, known)
    options = {option.name: values.get(option.name, option.default) for option in known.values()}
    shown = ",".join(text_of(value) if key == bare else f"{key}={text_of(value)}" for key, value in values.items())
    return Policy(f"{name}:{shown}" if shown else name, name, variant(module, options), options)


def variant(module: ModuleType, options: dict[str, Value]) -> ModuleType:
    """The module that serves these options: a policy's ``VARIANTS`` has others by option and value, ``over`` takes one in."""
    for option, modules in getattr(module, "VARIANTS", {}).items():
        module = modules.get(options[option], module)
    return nested(module, options) if hasattr(module, "over") else module


def split_spec(text: str, bare: str | None = None) -> tuple[str, dict[str, str]]:
    """Name and options of ``name:key=value,...`` or ``name:key:value,...``; commas inside [] do not split.

    ``bare`` is the option that a word without a key is the value of (None: such a word is an error).
    """
    end = text.find(".py:") + 3 if ".py:" in text.partition("[")[0] else text.find(":") if not text.endswith(".py") else -1
    name, rest = (text, "") if end < 0 else (text[:end], text[end + 1 :])
    given = {}
    for part in split_commas(rest):
        key, mark, value = part.partition(":" if ":" in part.partition("=")[0] else "=")
        if not mark and bare is not None:
            key, mark, value = bare, "=", part
        if bare == "":
            continue
        if not mark or not key.strip():
            raise UsageError(f"{text}: {part!r} is not key=value")
        if mark == ":" and value.strip() in ("true", "false"):
            raise UsageError(f"{text}: PyTorch takes {key.strip()}:{value.strip().capitalize()}, with a capital")
        if mark == "=" and key.strip() in given:
            raise UsageError(f"{text}: {key.strip()} is given twice")  # PyTorch lets the last one count
        given[key.strip()] = value.strip()
    return name.strip(), given


def split_commas(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def load_builtin(name: str) -> ModuleType:
    known = builtin_policies()
    if name not in known:
        raise unknown("policy", name, [*known, *GROUP_WORDS])
    return known[name]


def load_file(path: Path) -> ModuleType:
    """A user's policy. Its module has a name that depends on the path alone, so the compile cache finds it again."""
    if not path.is_file():
        raise UsageError(f"there is no policy file {path}")
    full = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, full)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(full.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PolicyError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(full.parent))
    check_functions(path, module)
    return module


def check_functions(path: Path, module: ModuleType) -> None:
    for function in REQUIRED:
        if not callable(getattr(module, function, None)):
            raise PolicyError(f"{path} has no function {function}; a policy needs {', '.join(REQUIRED)}")
    if len(inspect.signature(module.init).parameters) < 2:
        raise PolicyError(f"{path}: init has to take (capacity, max_live, ...)")
