"""A policy over another: ``arenas:policy=[best-fit:align=64]`` -> one module, with the other's functions inside.

The outer policy says by ``INNER`` which option names the inner one, and by ``over(inner, options_of)`` what its functions
are around the inner one's. The module's name carries the inner policy, and the inner module is reached from it, so the
compile cache tells them apart and sees every edit. It does not carry the inner policy's options, which only `init` looks at:
one compiled loop serves them all.
"""

import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from memtrace.engine.binding import bind, has_ledger
from memtrace.engine.options import Value
from memtrace.errors import UsageError

if TYPE_CHECKING:
    from memtrace.engine.registry import Policy


def nested(module: ModuleType, options: dict[str, Value]) -> ModuleType:
    """The module that ``module`` is with the inner policy that the options name."""
    inner = named(str(options[module.INNER]))
    outer = module.__name__.rpartition(".")[2]
    bound = bind(inner.module)
    if bound.address_of or bound.first_piece or not has_ledger(inner.module):
        raise UsageError(f"{outer}: {inner.name} cannot be put in: its blocks move or come in pieces, or it has no ledger")
    name = f"{module.__name__}.over_{inner.module.__name__.rpartition('.')[2]}"
    if name not in sys.modules:
        sys.modules[name] = made(name, module, bound, inner.module)
    return sys.modules[name]


def named(text: str) -> "Policy":
    """The inner policy that an option's value names, in brackets or not."""
    from memtrace.engine.registry import parse_policy

    return parse_policy(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def options_of(text: str) -> dict[str, Value]:
    """The inner policy's options, without what only the replay looks at."""
    return {key: value for key, value in named(text).options.items() if key != "swap"}


def made(name: str, module: ModuleType, bound: ModuleType, inner: ModuleType) -> ModuleType:
    whole = ModuleType(name, module.__doc__)
    whole.__file__ = module.__file__
    own = {key: value for key, value in vars(module).items() if not key.startswith("__")}
    taken = {f"inner_{key}": value for key, value in vars(bound).items() if isinstance(value, FunctionType)}
    vars(whole).update({**own, **taken, "inner_module": inner, **module.over(bound, options_of)})
    return whole
