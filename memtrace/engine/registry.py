"""Find policies: from the text `name:key=value,...`, a group's name, or the path of a file, to a Policy.

A policy over another, such as `arenas:policy=[best-fit:align=64]`, becomes one module with the inner policy's functions inside.
The module's name has the inner policy but not its options, which only ``init`` reads, so one compiled loop serves them all.
"""

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import memtrace.policies
from memtrace import plugins
from memtrace.contract.policy import constants, constants_of, function_of, has_ledger
from memtrace.engine.binding import bind
from memtrace.engine.form import check_form
from memtrace.engine.options import Value, options_of, parse_options, text_of, value_of
from memtrace.engine.policy_files import load_module
from memtrace.engine.policy_objects import module_of, pieces_of
from memtrace.errors import PolicyError, UsageError
from memtrace.names import split_spec, unknown
from memtrace.sweeps import spellings


def with_inner(module: ModuleType, options: dict[str, Value]) -> ModuleType:
    """The module that ``module`` is with the inner policy that the options name."""
    inner = inner_policy(str(options[constants_of(module).INNER]))
    outer = short_name(module)
    bound = bind(inner.module)
    told = any(function_of(inner.module, name) for name in ("start", "next_event", "plan"))
    if bound.address_of or bound.first_piece or told or not has_ledger(inner.module):
        raise UsageError(
            f"{outer}: {inner.name} cannot be put in: its blocks move or come in pieces, it is told of the trace, "
            "or it has no ledger"
        )
    if constants_of(inner.module).VIRTUAL:
        raise UsageError(f"{outer}: {inner.name} cannot be put in: it has several ranges of addresses of its own")
    name = f"{module.__name__}.over_{short_name(inner.module)}"
    if name not in sys.modules:
        sys.modules[name] = composed(name, module, bound, inner.module)
    return sys.modules[name]


def short_name(module: ModuleType) -> str:
    """Return a policy module's name without dots, which no other has: plug-ins may call a module as the package does."""
    package, _, last = module.__name__.rpartition(".")
    return last if package.startswith("memtrace.") else module.__name__.replace(".", "_")


def inner_policy(text: str) -> "Policy":
    """The inner policy that an option's value names, in brackets or not."""
    return parse_policy(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def inner_options(text: str) -> dict[str, Value]:
    """The inner policy's options, without what only the replay looks at."""
    return {key: value for key, value in inner_policy(text).options.items() if key != "swap"}


def composed(name: str, module: ModuleType, bound: ModuleType, inner: ModuleType) -> ModuleType:
    over = function_of(module, "over")
    assert over is not None
    whole = ModuleType(name, module.__doc__)
    whole.__file__ = module.__file__
    own = {key: value for key, value in vars(module).items() if not key.startswith("__")}
    taken = {f"inner_{key}": value for key, value in vars(bound).items() if isinstance(value, FunctionType)}
    vars(whole).update({**own, **taken, "inner_module": inner, **over(bound, inner_options), **joint_constants(module, inner)})
    return whole


def joint_constants(module: ModuleType, inner: ModuleType) -> dict[str, Any]:
    """Return the constants of a policy over another that depend on both: what either does not do, both do not."""
    outer, within = constants_of(module), constants_of(inner)
    return {
        "DEFERRED": outer.DEFERRED or within.DEFERRED,
        "MAX_ALIGN": min(outer.MAX_ALIGN, within.MAX_ALIGN),
        "NOT_COUNTED": tuple(dict.fromkeys((*outer.NOT_COUNTED, *within.NOT_COUNTED))),
    }


GROUP_WORDS = {
    "classic": "first, next, best and worst fit",
    "default": "what run compares if no policy is named",
    "gpu": "allocators of GPU frameworks",
    "embedded": "the heaps of operating systems and C libraries of embedded devices",
    "pools": "memory pools of GPU libraries and of inference runtimes",
    "kernel": "page allocators of operating systems",
    "parts": "memory in parts that no block crosses, with a policy of your choice in each",
    "all": "every policy that is simulated, but those of embedded, pools, kernel and parts",
}


# Groups of policies that one asks for by name or group: `all` is without them.
APART = ("embedded", "pools", "kernel", "parts")


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy with its options; ``label`` is what results call it: what it was asked for by, and the
    stem of its file, or the name that was given to it, if it is the user's own."""

    label: str
    name: str
    module: ModuleType
    options: dict[str, Value]
    text: str | None = None  # what `parse_policy` makes the policy of again; None for one made of functions

    def __reduce__(self) -> tuple[Any, ...]:
        return labelled, (self.text, self.label)


def labelled(text: str | None, label: str) -> Policy:
    """Return the policy of a text under a label; another process calls this."""
    if text is None:
        raise UsageError(f"{label} is made of functions, and cannot be sent to another process\ntry: one job, or a file")
    return replace(parse_policy(text), label=label)


@cache
def builtin_policies() -> dict[str, ModuleType]:
    """Every policy of the package by name: a file is the registration. In the order of their ``ORDER``, then by name."""
    found = {}
    for info in (each for each in pkgutil.iter_modules(memtrace.policies.__path__) if not each.ispkg):
        module = importlib.import_module(f"memtrace.policies.{info.name}")
        found[info.name.replace("_", "-")] = module
    return dict(sorted(found.items(), key=lambda item: (constants_of(item[1]).ORDER, item[0])))


@cache
def added_policies() -> dict[str, plugins.Plugin]:
    """Return the policies that other installed packages add, by name, without importing them."""
    return plugins.added("policies", [*builtin_policies(), *GROUP_WORDS])


def known_policies() -> dict[str, ModuleType]:
    """Return the policies of the package and of other installed packages by name, in the order of `builtin_policies`."""
    found = {**builtin_policies(), **plugins.usable(added_policies(), check_plugin)}
    return dict(sorted(found.items(), key=lambda item: (constants_of(item[1]).ORDER, item[0])))


def group(name: str, added: bool = True) -> list[str]:
    """Return the policies of a group as texts, each also with the options of its ALSO_WITH.

    `all` has each policy once, without real allocators and without the policies of the groups APART. Without ``added`` no plug-in
    is imported, and none is in the group.
    """
    found = []
    for policy, module in (known_policies() if added else builtin_policies()).items():
        if name == "all" and not is_real(module) and not set(APART) & set(constants_of(module).GROUPS):
            found.append(policy)
        elif name != "all" and name in constants_of(module).GROUPS:
            found += [policy, *(f"{policy}:{options}" for options in constants_of(module).ALSO_WITH)]
    return found


def is_real(module: ModuleType) -> bool:
    """Whether a policy stands for an allocator of this machine, of which only addresses and footprint are known."""
    return constants_of(module).FOOTPRINT_ONLY


def settings_seen(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return the settings of real allocators that are set outside, as names and values, where the policy stands for one."""
    from memtrace.native.settings import settings_outside

    return tuple(settings_outside().items()) if is_real(policy.module) else ()


def parse_policies(texts: list[str] | tuple[str, ...]) -> list[Policy]:
    """Each text is a group, or ``name:key=value,...`` with sweeps as values; the same policy asked for twice counts once."""
    labels: list[str] = []
    for text in (each for written in texts for each in spellings(written)):
        members = group(text) if text in GROUP_WORDS else []
        if text in GROUP_WORDS and not members:
            raise UsageError(f"the group {text} has no policies in this version")
        labels += members or [text]
    return told_apart([parse_policy(label) for label in dict.fromkeys(labels)])


def told_apart(policies: list[Policy]) -> list[Policy]:
    """Return the policies with labels of which no two are equal; the same policy with the same options counts once.

    Files with the same stem get as much of their paths as it takes, with the same options or others. Raises UsageError for two
    that were given one name.
    """
    found = list({(policy.label, policy.module, tuple(policy.options.items())): policy for policy in policies}.values())
    while True:
        alike = [one for one in found if any(is_alike(one, other) for other in found if other is not one)]
        if not alike:
            return found
        longer = {id(policy): with_folder(policy) for policy in alike}
        if all(longer[id(policy)].label == policy.label for policy in alike):
            raise UsageError(f"two policies are called {alike[0].label}\ntry: another name for one, as in mine.py:name=other")
        found = [longer.get(id(policy), policy) for policy in found]


def is_alike(one: Policy, other: Policy) -> bool:
    """Return whether two policies have the same label, or are two files whose labels differ in their options alone."""
    if one.label == other.label:
        return True
    files = all(policy.name.endswith(".py") and not is_named(policy) for policy in (one, other))
    same = one.module is other.module or (files and Path(one.name).resolve() == Path(other.name).resolve())
    return files and not same and one.label.partition(":")[0] == other.label.partition(":")[0]


def is_named(policy: Policy) -> bool:
    """Return whether the policy of a file was given a name."""
    return "name" in split_spec(policy.text or "")[1]


def file_texts(policies: Iterable[Policy]) -> dict[str, str]:
    """Return, by the label of each policy that is a file of the user's own, the text with its path to name it by."""
    return {policy.label: policy.text for policy in policies if policy.text is not None and policy.name.endswith(".py")}


def with_folder(policy: Policy) -> Policy:
    """Return the policy of a file with one more folder of its path in its label; as it is where there is none."""
    stem, mark, options = policy.label.partition(":")
    if not policy.name.endswith(".py") or is_named(policy):
        return policy
    parts = Path(policy.name).resolve().with_suffix("").parts[1:]
    longer = "/".join(parts[-1 - len(stem.removesuffix(".py").split("/")) :])
    return replace(policy, label=f"{longer}{mark}{options}")


def parse_policy(text: str) -> Policy:
    """Return the policy that a text names with its options: ``name:key=value,...``, where the name may be the path of a file.

    Raises UsageError for an unknown name or option, PolicyError for a file that is no policy.
    """
    name = split_spec(text, "")[0]
    module = load_file(Path(name)) if name.endswith(".py") else load_named(name)
    bare = constants_of(module).BARE
    given = split_spec(text, bare)[1]
    known = options_of(module)
    called = given.pop("name") if name.endswith(".py") and "name" in given and "name" not in known else None
    values = parse_options(name, given, known)
    options = {option.name: values.get(option.name, option.default) for option in known.values()}
    shown = ",".join(text_of(value) if key == bare else f"{key}={text_of(value)}" for key, value in values.items())
    full = f"{name}:{shown}" if shown else name
    own = label_of(Path(name), shown, called) if name.endswith(".py") else full
    return Policy(label=own, name=name, module=variant(module, options), options=options, text=text if called else full)


def label_of(path: Path, shown: str, called: str | None) -> str:
    """Return the label of a policy file with the options ``shown``: the name it is ``called``, else its stem and the options.

    The stem of a file that is called as a known policy keeps its suffix. Raises UsageError for a name that is no word.
    """
    if called is not None:
        if not re.fullmatch(r"[\w.-]+", called):
            raise UsageError(f"{path}: name={called} has to be a word of letters, digits, dashes, dots and underscores")
        return called
    known = {*builtin_policies(), *added_policies(), *GROUP_WORDS}
    stem = path.name if path.stem in known or path.stem.replace("_", "-") in known else path.stem
    return f"{stem}:{shown}" if shown else stem


def policy(
    source: str | Policy | ModuleType | None = None,
    *,
    name: str | None = None,
    options: Mapping[str, Value] | None = None,
    **pieces: Any,
) -> Policy:
    """Return the policy that a text names, or that a module object or the functions of a notebook's cells are.

    ``pieces`` are functions and constants of the contract by name (``alloc``, ``free``, ``init``, ``COUNTERS``, ...), and
    ``State`` where the functions' own module does not call the state so. ``name`` is what results call the policy. The functions
    are taken as they are now: call this again once one was defined anew.

    >>> mine = memtrace.policy(init=init, alloc=alloc, free=free, reserved=reserved, name="mine", options={"heap": 1 << 20})

    Raises PolicyError for functions that are no policy, UsageError for unknown options.
    """
    if isinstance(source, Policy | str):
        if pieces or (options and isinstance(source, Policy)):
            raise UsageError("a policy that there is already takes no further functions and no options")
        found = source if isinstance(source, Policy) else parse_policy(with_options(source, options or {}))
        return found if name is None else replace(found, label=name)
    given = {**(pieces_of(source) if source is not None else {}), **pieces}
    own = name or (short_name(source) if source is not None else "policy")
    if "State" not in given and "init" in given:
        given["State"] = given["init"].__globals__.get("State")
    module = module_of(given, own)
    check_form(own, module)
    known = options_of(module)
    values = {key: value_of(own, known[key], text_of(value)) for key, value in (options or {}).items() if key in known}
    for key in options or {}:
        if key not in known:
            raise unknown(f"option of {own}", key, known)
    shown = ",".join(f"{key}={text_of(value)}" for key, value in values.items())
    settled = {each.name: values.get(each.name, each.default) for each in known.values()}
    label = own if name is not None or not shown else f"{own}:{shown}"
    return Policy(label=label, name=own, module=variant(module, settled), options=settled, text=None)


def with_options(text: str, options: Mapping[str, Value]) -> str:
    """Return a policy's text with options given by name added to it."""
    if not options:
        return text
    added = ",".join(f"{name}={text_of(value)}" for name, value in options.items())
    return f"{text}{',' if split_spec(text, 'bare')[1] else ':'}{added}"


def variant(module: ModuleType, options: dict[str, Value]) -> ModuleType:
    """Return the module that serves these options: a variant's, one composed with an inner policy, or the policy's own."""
    for option, modules in (constants_of(module).VARIANTS or {}).items():
        module = modules.get(str(options[option]), module)
    return with_inner(module, options) if function_of(module, "over") is not None else module


def load_named(name: str) -> ModuleType:
    """Return the policy of this name, of the package or of another installed one.

    Raises UsageError for an unknown name, PolicyError for a plug-in that cannot be used.
    """
    known = builtin_policies()
    if name in known:
        return known[name]
    if name not in added_policies():
        raise also_known(name) or unknown("policy", name, [*known, *added_policies(), *GROUP_WORDS])
    return plugins.load(added_policies()[name], check_plugin)


def also_known(name: str) -> UsageError | None:
    """Return the error that says which policy another name stands for, such as that of a product; None if it stands for none."""

    def plain(text: str) -> str:
        """Return a name without case and signs."""
        return re.sub(r"[^a-z0-9]", "", text.lower())

    for policy, module in builtin_policies().items():
        for other, options in (constants_of(module).KNOWN_AS or {}).items():
            if plain(other) == plain(name):
                spec = f"{policy}:{options}" if options else policy
                return UsageError(f"there is no policy {name}; it is {policy} here\ntry: {spec}")
    return None


def load_file(path: Path) -> ModuleType:
    """Return a user's policy file as a module, loaded anew if it or a module beside it has changed.

    Raises UsageError if there is no such file, PolicyError if it cannot be loaded or lacks a required function.
    """
    module = load_module(path)
    check_form(str(path), module)
    return module


def check_plugin(module: ModuleType) -> None:
    """Raise MemtraceError if the module of a plug-in is no policy."""
    if inspect.getsourcefile(module) is None:
        raise PolicyError(f"{module.__name__} is no Python source, from which policies are compiled")
    check_form(module.__name__, module)
    options_of(module)
    for constant, default, _ in constants():
        value = getattr(constants_of(module), constant)
        texts = isinstance(value, tuple) and all(isinstance(each, str) for each in value)
        if isinstance(default, tuple) and not texts:
            raise PolicyError(f"{constant} of {module.__name__} is no tuple of texts: {value!r}")
        if constant == "ORDER" and not isinstance(value, int):
            raise PolicyError(f"ORDER of {module.__name__} is no whole number: {value!r}")
