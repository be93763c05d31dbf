"""The options `place`, `coalesce` and `order` of the general heap policies equal their oracle in every figure."""

from __future__ import annotations

import os
from typing import Any

import pytest
from comparison import differences, expected, found, random_case, replayed
from oracle import Event, simulate

import memtrace
from memtrace.errors import UsageError
from memtrace.trace import from_events

SEEDS = int(os.environ.get("MEMTRACE_SEEDS", "150")) // 30
KINDS = {
    "first-fit": [{"place": "tail"}, {"order": "lifo"}, {"order": "fifo"}, {"order": "size"}, {"coalesce": "never"}],
    "best-fit": [{"place": "tail"}, {"order": "lifo"}, {"order": "fifo"}, {"coalesce": "never"}],
    "worst-fit": [{"place": "tail"}, {"order": "lifo"}, {"order": "fifo"}, {"coalesce": "never"}],
}
CASES = [(policy, own) for policy, kinds in KINDS.items() for own in kinds]
CASES += [
    ("first-fit", {"order": "lifo", "place": "tail", "coalesce": "never"}),
    ("first-fit", {"order": "size", "coalesce": "never"}),
    ("best-fit", {"order": "fifo", "place": "tail"}),
]


def names(case: tuple[str, dict[str, str]]) -> str:
    return f"{case[0]}-{'-'.join(case[1].values())}"


@pytest.mark.parametrize("kind", CASES, ids=names)
def test_seeded_traces(kind: tuple[str, dict[str, str]]) -> None:
    policy, own = kind
    for seed in range(SEEDS):
        rows, capacity, on_oom, options, batch_rows = random_case(policy, seed, 120)
        case = rows, capacity, on_oom, {**options, **own}, batch_rows
        assert differences(policy, case, interpret=True) == {}, f"seed {seed}: {case[1:]}"


def searching_case(seed: int) -> Any:
    """A case of coalesce=search, which has no alignments of events, no base, no trim, and sizes that are multiples of align."""
    rows, capacity, on_oom, options, batch_rows = random_case("first-fit", seed, 200)
    align = options.get("align", 16)
    options = {**options, "coalesce": "search"}
    for name in ("min_block", "initial", "chunk"):
        if options.get(name, 0) > 1:
            options[name] = -(-options[name] // align) * align
    options.pop("base", None)
    options.pop("trim", None)
    options["min_block"] = max(options.get("min_block", 16), align)
    if capacity is not None:
        capacity = max(capacity, options.get("initial", 0))
    return [row._replace(align=None) for row in rows], capacity, on_oom, options, batch_rows


def test_blocks_that_join_while_a_search_goes_on() -> None:
    for seed in range(4 * SEEDS):
        events, capacity, on_oom, options, batch_rows = searching_case(seed)
        placement = replayed("first-fit", events, capacity, on_oom, options, batch_rows, interpret=True)
        have = found(placement)
        want = expected("first-fit", events, capacity, on_oom, {**options, "realloc": "move"}, placement)
        assert {k: (have[k], want[k]) for k in want if have[k] != want[k] and k != "searches"} == {}, f"seed {seed}"


def test_compiled_as_interpreted() -> None:
    rows, capacity, on_oom, options, batch_rows = random_case("first-fit", 2, 600)
    for own in ({"order": "lifo"}, {"place": "tail", "coalesce": "never"}):
        assert differences("first-fit", (rows, capacity, on_oom, {**options, **own}, batch_rows)) == {}


def comb(*holes: int) -> list[Event]:
    """Holes of these bytes, freed from the last to the first, between blocks of 16."""
    events = [Event("alloc", i, size) for pair in enumerate(holes) for i, size in ((2 * pair[0], pair[1]), (2 * pair[0] + 1, 16))]
    return events + [Event("free", 2 * i) for i in reversed(range(len(holes)))]


@pytest.mark.parametrize(
    ("policy", "own", "address"),
    [
        ("first-fit", {"order": "lifo"}, 0),
        ("first-fit", {"order": "fifo"}, 192),
        ("first-fit", {"order": "size"}, 144),
        ("first-fit", {"place": "tail"}, 32),
        ("best-fit", {"order": "fifo"}, 144),
        ("best-fit", {"place": "tail"}, 144),
        ("worst-fit", {"order": "lifo"}, 80),
        ("worst-fit", {"order": "fifo"}, 192),
        ("worst-fit", {"order": "fifo", "place": "tail"}, 208),
    ],
)
def test_where_each_puts_a_block_by_hand(policy: str, own: dict[str, str], address: int) -> None:
    """Holes [0,64) [80,128) [144,176) [192,240) [256,...): freed from the highest to the lowest."""
    rows = [*comb(64, 48, 32, 48), Event("alloc", 99, 32)]
    if policy == "worst-fit":
        rows = [*comb(32, 48, 32, 48), Event("alloc", 99, 32)]
        address -= 32
    assert simulate(policy, rows, **own).addresses[-1] == address
    placement = replayed(policy, rows, None, "stop", own, interpret=True)
    assert placement.addresses is not None and placement.addresses[-1] == address


def test_what_never_joins_serves_no_larger_request() -> None:
    rows = [("alloc", i, 32) for i in range(4)] + [("free", i) for i in range(4)] + [("alloc", 9, 64)]
    at = {}
    for coalesce in ("now", "search", "never"):
        placement = memtrace.replay(from_events(rows), f"first-fit:coalesce={coalesce},initial=512", keep=True, interpret=True)
        assert placement.addresses is not None
        at[coalesce] = int(placement.addresses[-1])
    assert at == {"now": 0, "search": 0, "never": 128}


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("first-fit:coalesce=search,place=tail", "knows only place=front"),
        ("first-fit:coalesce=search,order=lifo", "is of a first fit in the order of addresses"),
        ("first-fit:coalesce=search,trim=true", "neither trim nor base"),
        ("first-fit:coalesce=search,min_block=20", "has to be a multiple of align"),
        ("best-fit:order=size", "order=size is none of address, lifo, fifo"),
        ("best-fit:coalesce=search", "coalesce=search is none of now, never"),
        ("next-fit:order=lifo", "next-fit"),
    ],
)
def test_options_that_do_not_go_together(policy: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        memtrace.replay(from_events([("alloc", 1, 10)]), policy, interpret=True)
