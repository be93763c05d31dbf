"""The constants of the policy contract: every constant that a policy module may have, with its meaning and its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

# What a policy with a ledger may leave uncounted, by the word that NOT_COUNTED has for it.
COUNTED = {
    "allocated": "bytes of blocks with rounding and headers (ALLOCATED)",
    "holes": "number, bytes and largest of the holes (HOLES, FREE, `largest_hole`)",
    "sizes": "sizes of the holes (SQUARES, BELOW_MEDIAN, BELOW_P99, CLASS_HOLES, CLASS_BYTES)",
    "searches": "holes looked at for a request (INSPECTED)",
    "fits": "the hole that served a request (HOLE_TAKEN)",
    "splits": "splits (SPLITS)",
    "merges": "merges (MERGES)",
    "calls": "calls to the system (RESERVE_CALLS, RELEASE_CALLS)",
}


def constant(meaning: str, default: Any) -> Any:
    """Return a field of ``Constants`` with what it means."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Constants:
    """The constants of a policy module."""

    ORDER: int = constant("the place in lists of policies, lowest first; equal ones by name", 100)
    GROUPS: tuple[str, ...] = constant("the groups for `-p` that the policy belongs to; it need not name `all`", ())
    ALSO_WITH: tuple[str, ...] = constant("texts of options with each of which the policy's groups have it once more", ())
    BARE: str | None = constant("the option whose value a word without `key=` is, as in `native:glibc`", None)
    SWAPS: tuple[str, ...] = constant("the values that the option `swap` takes; the first is the default", ("scratch", "inplace"))
    COUNTERS: tuple[str, ...] = constant(
        "the names of the policy's own columns of timeline.parquet, which `write_counters` fills", ()
    )
    COALESCES: bool = constant(
        "neighbouring holes are joined: once all blocks are freed, all that is reserved, or the largest block that fits a new "
        "heap, can be had as one block, at the address that it gets in a new heap. Only `--check` reads it, and tests it",
        False,
    )
    UNUSABLE: bool = constant(
        "reserved bytes may be neither in a block nor in a hole, such as the tails of pages, and how many changes; without it "
        "`--check` takes them for lost",
        False,
    )
    DEFERRED: bool = constant(
        "free neighbours may be joined as late as when a request needs them, so a block may be larger than the largest hole was; "
        "without it `--check` takes the largest hole for wrong",
        False,
    )
    VIRTUAL: bool = constant(
        "blocks lie in several ranges of addresses, or anywhere: an address may lie beyond the reserved bytes and the capacity; "
        "without a ledger, holes are then known from `survey` alone, and their sizes not at all",
        False,
    )
    FOOTPRINT_ONLY: bool = constant(
        "only addresses and footprint are known: measures of holes and searches are null, and the group `all` is without it",
        False,
    )
    TAKES_POOL: bool = constant(
        "the heap takes a pool of the capacity's size whole, and its structures depend on it: without a capacity it is refused, "
        "and the smallest that works is searched for in steps of 8 bytes",
        False,
    )
    CONTROL: str = constant("where the heap's own structures lie in its pool, and their bytes, in words", "")
    VERSION: str = constant("the product and version whose placements the policy has", "")
    KNOWN_AS: Mapping[str, str] | None = constant(
        "other name that people look for -> the options that make the policy just that, or no text; a name that is no policy's "
        "is looked up here, without case and signs, and the answer says what to type",
        None,
    )
    MAX_ALIGN: int = constant(
        "bytes: the largest alignment that the policy serves; of a larger one that an event asks for it owes only this", 1 << 62
    )
    NOT_COUNTED: tuple[str, ...] = constant(
        "what a policy with a ledger does not count, so that measures of it are null: any of " + ", ".join(COUNTED), ()
    )
    VARIANTS: Mapping[str, Mapping[str, ModuleType]] | None = constant(
        "option -> value -> the module that is used in the policy's place if the option has this value", None
    )
    INNER: str = constant("the option whose value is the policy that `over` takes in", "")
