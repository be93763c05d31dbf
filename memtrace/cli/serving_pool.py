"""What `memtrace mincap` says of a serving engine: preemptions and hits of prefixes against the size of its pool."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    from memtrace.questions.serving_pool import Pools, PoolUse
    from memtrace.workloads.recipe import Recipe

POINTS = 8  # sizes in the table if --curve does not say how many


def show_pools(recipe: Recipe, points: int | None, hit_rate: float | None, as_json: bool, quiet: bool) -> None:
    """Find and print the pools of a workload that `serving_pool.is_served`; as one JSON document with ``as_json``."""
    from memtrace.cli.output import bar, echo_json
    from memtrace.questions.serving_pool import find

    tried = 0
    with bar("serving", not (quiet or as_json), None) as progress:

        def count() -> None:
            """Count one more pool that was tried."""
            nonlocal tried
            tried += 1
            progress(tried, None)

        found = find(recipe, points or POINTS, hit_rate, count)
    if as_json:
        echo_json({"schema": "memtrace.serving/1", "workload": recipe.label, "hit_rate_asked": hit_rate, **asdict(found)})
        return
    print_pools(recipe.label, found, hit_rate)


def print_pools(label: str, found: Pools, hit_rate: float | None) -> None:
    """Print the table of pools by size, and a sentence for each question."""
    from memtrace.cli.output import print_table
    from memtrace.units import format_size

    page = format_size(found.page_bytes)
    columns = ("pool", "pages", "hit rate", "preempted", "evictions", "tokens computed", "time")
    print_table(columns, [row(use) for use in found.curve], title=f"{label}: pages of {page}, page 0 never used")
    calm, ample = found.calm, found.ample
    if calm.pages == found.curve[0].pages:
        echo(f"no preemption from {size(calm)} on, which is the room for the longest request")
    else:
        echo(f"no preemption: {size(calm)} are the least found; with a page less there is one")
    if ample.hit_share is not None:
        echo(f"no eviction: {size(ample)}; {ample.hit_share:.1%} of the tokens are found then")
    if hit_rate is not None and found.hitting is None:
        echo(f"a hit rate of {hit_rate:.1%} is not to be had from these requests, however large the pool is")
    elif found.hitting is not None:
        echo(f"a hit rate of {hit_rate:.1%}: {size(found.hitting)} are the least found, with {found.hitting.hit_share:.1%}")


def size(use: PoolUse) -> str:
    """Return a pool's size in words."""
    from memtrace.units import format_size

    return f"{format_size(use.pool_bytes)} ({use.pages:,} pages)"


def row(use: PoolUse) -> tuple[str, ...]:
    """Return a pool's line in the table."""
    from memtrace.units import format_size

    share = "-" if use.hit_share is None else f"{use.hit_share:.1%}"
    return (
        format_size(use.pool_bytes),
        f"{use.pages:,}",
        share,
        f"{use.preemptions:,}",
        f"{use.evictions:,}",
        f"{use.computed_tokens:,}",
        f"{use.seconds:,.0f} s",
    )
