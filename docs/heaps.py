"""Writes the tables of docs/heaps.md from the policies of the group embedded: ``python -m docs.heaps``."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from docs.policies import table
from memtrace.contract.policy import constants_of, function_of
from memtrace.engine.options import options_of, text_of
from memtrace.engine.registry import builtin_policies

PAGE = Path(__file__).with_suffix(".md")
FIRST, LAST = "<!-- heaps -->", "<!-- /heaps -->"
GROUP = "embedded"


def page() -> str:
    """Return docs/heaps.md with the tables as the policies declare them between its markers."""
    head, _, rest = PAGE.read_text().partition(FIRST)
    tail = rest.partition(LAST)[2]
    return f"{head}{FIRST}\n\n{tables()}\n{LAST}{tail}"


def heaps() -> dict[str, ModuleType]:
    """Return the policies of the group by name, in alphabetical order."""
    return {name: module for name, module in sorted(builtin_policies().items()) if GROUP in constants_of(module).GROUPS}


def tables() -> str:
    """Return the table of the heaps, and the one of what their policies do."""
    found = heaps()
    kinds = ("your heap", "type", "kinds", "its own structures in the pool")
    does = ("policy", "realloc", "alignment", "pool", "search", "other options")
    return "\n".join(
        [
            table(kinds, (product(name, module) for name, module in found.items())),
            table(does, (row(name, module) for name, module in found.items())),
        ]
    )


def product(name: str, module: ModuleType) -> tuple[str, ...]:
    """Return the product and version, the word to type, the options for its other heaps, and its control structures."""
    constants = constants_of(module)
    kinds = [f"`{name}:{options}`" for options in constants.ALSO_WITH]
    return constants.VERSION, f"`-p {name}`", ", ".join(kinds) or "-", constants.CONTROL


def row(name: str, module: ModuleType) -> tuple[str, ...]:
    """Return what a policy does with reallocs, alignments and the capacity, whether it counts searches, and its own options."""
    constants = constants_of(module)
    kinds = {options.partition("=")[0] for options in constants.ALSO_WITH}
    own = [o for o in options_of(module).values() if o.name not in {"swap", "pool", *kinds}]
    return (
        f"`{name}`",
        "as the product's" if function_of(module, "resize") is not None else "none in the product: alloc, copy, free",
        f"{constants.MAX_ALIGN} bytes",
        "taken whole" if constants.TAKES_POOL else "grows up to the capacity",
        "-" if "searches" in constants.NOT_COUNTED else "counted",
        ", ".join(f"`{o.name}={text_of(o.default)}`" for o in own) or "-",
    )


if __name__ == "__main__":
    PAGE.write_text(page())
