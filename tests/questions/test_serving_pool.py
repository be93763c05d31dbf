"""The pool of a serving engine: the sizes that are found, beside serving from sizes around them."""

from __future__ import annotations

import json

import pytest
from conftest import Run

from memtrace.errors import UsageError
from memtrace.questions.serving_pool import Pool, find
from memtrace.reading.traces import recipe_of

SPEC = (
    "gpt-serve:engine=vllm,preset=gpt2,requests=60,rate=20,lengths=alpaca,max_len=256,prefixes=3,prefix_tokens=64,"
    "prefix_share=0.8,turns=3,pause=1,watermark=0.01"
)


def test_what_is_found_is_enough_and_a_page_less_is_not() -> None:
    recipe = recipe_of(SPEC)
    found = find(recipe, 5, 0.3, lambda: None)
    pool = Pool(recipe)
    least = found.curve[0].pages
    assert found.calm.pages > least and found.calm.preemptions == 0 < pool.use(found.calm.pages - 1).preemptions
    assert found.hitting is not None and found.hitting.hit_share is not None and found.hitting.hit_share >= 0.3
    less = pool.use(found.hitting.pages - 1).hit_share
    assert found.hitting.pages == least or (less is not None and less < 0.3)
    assert found.ample.preemptions == found.ample.evictions == 0
    assert [use.pages for use in found.curve] == sorted({use.pages for use in found.curve}) and len(found.curve) == 5
    assert found.curve[-1] == found.ample == pool.use(found.ample.pages)
    larger = pool.use(2 * found.ample.pages)
    assert (larger.hit_share, larger.computed_tokens, larger.seconds) == (
        found.ample.hit_share,
        found.ample.computed_tokens,
        found.ample.seconds,
    )


def test_without_caching_nothing_is_known_of_hits() -> None:
    recipe = recipe_of(f"{SPEC},caching=false")
    assert {use.hit_share for use in find(recipe, 3, None, lambda: None).curve} == {None}
    with pytest.raises(UsageError, match="leave --hit-rate out"):
        find(recipe, 3, 0.5, lambda: None)


def test_the_command(memtrace: Run) -> None:
    said = memtrace("mincap", SPEC, "--hit-rate", "0.99", "--curve", "4")
    assert said.returncode == 0 and "no preemption: " in said.stdout
    assert "a hit rate of 99.0% is not to be had from these requests" in said.stdout
    document = json.loads(memtrace("mincap", SPEC, "--curve", "4", "--json").stdout)
    assert document["schema"] == "memtrace.serving/1" and len(document["curve"]) == 4 and document["hitting"] is None
    assert document["calm"]["pool_bytes"] == document["calm"]["pages"] * document["page_bytes"]
    refused = memtrace("mincap", "classic:live=10", "--hit-rate", "0.5")
    assert refused.returncode == 2 and "--hit-rate is a question about gpt-serve:engine=vllm" in refused.stderr
