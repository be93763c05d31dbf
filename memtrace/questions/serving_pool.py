"""How large the pool of key-value pages of a serving engine has to be: preemptions and hits of prefixes against its size.

The workload `gpt-serve:engine=vllm` is served again with pools of other sizes; its requests are the same each time. Only the
scheduler runs: no event is kept, and nothing is placed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from memtrace.workloads.recipe import Recipe
    from memtrace.workloads.serving.engine import Vllm

WORKLOAD, ENGINE = "gpt-serve", "vllm"
MOST_PAGES = 1 << 24  # of a pool that is tried: some gigabytes of tables


@dataclass(frozen=True)
class PoolUse:
    """What happened when all requests were served from one pool."""

    pages: int  # of the pool, page 0 included
    pool_bytes: int
    hit_share: float | None  # tokens found in pages, by the tokens of all admissions; None without caching
    preemptions: int
    evictions: int  # pages with a content that were taken for other tokens
    computed_tokens: int
    seconds: float  # of the engine's modelled time, until all requests were served


@dataclass(frozen=True)
class Pools:
    """What a workload makes of pools of several sizes."""

    page_bytes: int
    ample: PoolUse  # no preemption and no eviction: more pages change nothing
    calm: PoolUse  # the smallest found without a preemption; with a page less there are some, or it is the least
    hitting: PoolUse | None  # the smallest found with the hit share that was asked for; None if not asked, or not to be had
    curve: list[PoolUse]  # sizes from the least, room for the longest request, to the ample one, ascending


def is_served(recipe: Recipe) -> bool:
    """Return whether a workload is one whose pool can be looked for."""
    return recipe.workload == WORKLOAD and recipe.options.get("engine") == ENGINE


class Pool:
    """Serves the requests of one workload from pools of any size; sizes that were tried are remembered."""

    def __init__(self, recipe: Recipe, progress: Callable[[], None] = lambda: None) -> None:
        """Draw the requests of the workload; raises UsageError for options that exclude each other."""
        import numpy as np

        from memtrace.workloads.gpt_serve import Options, prepare

        options: dict[str, Any] = {**recipe.options, "weights": False, "activations": False}
        # The pool is tried in all sizes, so the size that the workload has, which may be too small, does not matter.
        given = Options(**{**options, "kv_memory": 1 << 50})
        run, _ = prepare(np.random.default_rng(recipe.seed), given)
        self.served: Vllm = run.scheduler  # type: ignore[assignment]
        self.watermark = given.watermark
        self.progress = progress  # called after each pool that was tried
        self.uses: dict[int, PoolUse] = {}
        self.touched = 0  # pages that were ever taken, in the pool that was tried last
        texts, rules = self.served.texts, self.served.rules
        longest = int((texts.prompt + texts.output).max()) - 1 + rules.lookahead
        # Page 0 is never used. The watermark is kept free only while others run.
        self.least = -(-longest // rules.page) + 2

    def use(self, pages: int) -> PoolUse:
        """Serve all requests from a pool of ``pages`` pages, page 0 included."""
        from memtrace.workloads.serving import block_pool, vllm

        if pages not in self.uses:
            rules = self.served.rules._replace(watermark=int(self.watermark * pages))
            texts = self.served.texts
            pool, batch = vllm.start(rules, texts, pages)
            most = vllm.most_events(rules, pool, batch)
            out = vllm.new_out(max(1 << 14, 2 * most), 1 << 12)
            self.touched = 0
            while True:
                at, done = vllm.serve(rules, pool, batch, texts, out, most)
                if not done:
                    break
                self.touched = max(self.touched, int(out.page[:at].max(initial=0)))
            asked, found = int(batch.counts[vllm.ASKED_TOKENS]), int(batch.counts[vllm.FOUND_TOKENS])
            self.uses[pages] = PoolUse(
                pages=pages,
                pool_bytes=pages * self.served.page_bytes,
                hit_share=found / asked if rules.caching else None,
                preemptions=int(batch.counts[vllm.PREEMPTIONS]),
                evictions=int(pool.counts[block_pool.EVICTIONS]),
                computed_tokens=int(batch.counts[vllm.COMPUTED]),
                seconds=int(batch.counts[vllm.CLOCK]) / 1e9,
            )
            self.progress()
        return self.uses[pages]

    def ample(self) -> PoolUse:
        """Return the use of a pool without a preemption or an eviction, with few pages that are never taken.

        Raises UsageError if it is too large to be tried.
        """
        texts, page = self.served.texts, self.served.rules.page
        pages = min(MOST_PAGES, self.least + int((-(-(texts.prompt + texts.output) // page) + 1).sum()))
        use = self.use(pages)
        if use.preemptions or use.evictions:
            raise UsageError(f"its requests need more than {MOST_PAGES:,} pages; give fewer requests, or larger pages")
        close = self.use(max(self.least, self.touched + 1))
        return use if close.preemptions or close.evictions else close

    def smallest(self, enough: Callable[[PoolUse], bool], low: int, high: int) -> PoolUse:
        """Return a pool that is enough, where one of a page less is not, between two sizes; ``high`` is enough.

        A larger pool may not be enough where a smaller one is; the search halves the range each time.
        """
        if enough(self.use(low)):
            return self.use(low)
        while high - low > 1:
            middle = (low + high) // 2
            if enough(self.use(middle)):
                high = middle
            else:
                low = middle
        return self.use(high)


def find(recipe: Recipe, points: int, hit_share: float | None, progress: Callable[[], None]) -> Pools:
    """Return what a workload makes of pools of ``points`` sizes, and the smallest that do what is asked.

    ``progress`` is called after each pool. Raises UsageError for options that exclude each other, and for a workload without
    caching if a hit share is asked for.
    """
    pool = Pool(recipe, progress)
    if hit_share is not None and not pool.served.rules.caching:
        raise UsageError("caching=false finds no prefix: leave --hit-rate out, or caching=false")
    ample = pool.ample()
    calm = pool.smallest(lambda use: use.preemptions == 0, pool.least, ample.pages)
    hitting = None
    if hit_share is not None and (ample.hit_share or 0) >= hit_share:
        hitting = pool.smallest(lambda use: (use.hit_share or 0) >= hit_share, pool.least, ample.pages)
    steps = max(1, points - 1)
    sizes = {round(pool.least * (ample.pages / pool.least) ** (i / steps)) for i in range(steps + 1)}
    return Pools(
        page_bytes=pool.served.page_bytes,
        ample=ample,
        calm=calm,
        hitting=hitting,
        curve=[pool.use(pages) for pages in sorted(sizes)],
    )
