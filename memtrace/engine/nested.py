"""A policy over another: ``arenas:policy=[best-fit:align=64]`` -> one module, with the other's functions inside.

The outer policy says by ``INNER`` which option names the inner one, and by ``over(inner, options)`` what its functions are
around the inner one's. The module's name carries the inner policy, and the inner module is reached from it, so the compile
cache tells them apart and sees every edit.
"""

import hashlib
import sys
from types import FunctionType, ModuleType

from memtrace.engine.binding import bind, has_ledger
from memtrace.engine.options import Value
from memtrace.errors import UsageError


def nested(module: ModuleType, options: dict[str, Value]) -> ModuleType:
    """The module that ``module`` is with the inner policy that the options name."""
    from memtrace.engine.registry import parse_policy

    text = str(options[module.INNER])
    inner = parse_policy(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    outer = module.__name__.rpartition(".")[2]
    bound = bind(inner.module)
    if bound.address_of or bound.first_piece or not has_ledger(inner.module):
        raise UsageError(f"{outer}: {inner.name} cannot be put in: its blocks move or come in pieces, or it has no ledger")
    short = inner.module.__name__.rpartition(".")[2]
    name = f"{module.__name__}.over_{short}_{hashlib.sha256(inner.label.encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        sys.modules[name] = made(name, module, bound, inner.module, inner.options)
    return sys.modules[name]


def made(name: str, module: ModuleType, bound: ModuleType, inner: ModuleType, options: dict[str, Value]) -> ModuleType:
    whole = ModuleType(name, module.__doc__)
    whole.__file__ = module.__file__
    own = {key: value for key, value in vars(module).items() if not key.startswith("__")}
    taken = {f"inner_{key}": value for key, value in vars(bound).items() if isinstance(value, FunctionType)}
    wanted = {key: value for key, value in options.items() if key != "swap"}
    vars(whole).update({**own, **taken, "inner_module": inner, **module.over(bound, wanted)})
    return whole
