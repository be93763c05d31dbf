"""Serving by vLLM's rules, beside the events of vLLM 0.33.0's own scheduler and block pool, and beside a plain twin."""

from __future__ import annotations

import csv
import gzip
import random
from collections import defaultdict

import numpy as np
import pytest
from conftest import ROOT
from oracle_vllm import Model, Request

from memtrace.errors import UsageError
from memtrace.reading import read
from memtrace.trace import Op
from memtrace.workloads.serving import scheduler, vllm
from memtrace.workloads.serving.block_pool import EVICTIONS, HITS
from memtrace.workloads.serving.engine import Plain
from memtrace.workloads.serving.lengths import Requests
from memtrace.workloads.serving.vllm import COMPUTED, PREEMPTIONS, Rules, Texts

DATA = ROOT / "tests" / "data" / "serving"
NAMES = {vllm.TAKEN: "take", vllm.FOUND_FREE: "hit", vllm.FREED: "free", vllm.FOUND_IN_USE: "hit", vllm.LET_GO: "free"}
Events = list[tuple[int, int, str, int]]  # step, request, event, page


def table(name: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a recording by stream."""
    rows = defaultdict(list)
    with gzip.open(DATA / f"vllm-0.33.0-{name}.csv.gz", "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            rows[row.pop("stream")].append(row)
    return rows


REQUESTS, RECORDED = table("requests"), table("events")


def rules_of(**given: int) -> Rules:
    """Rules of pages of 16 tokens, a step of which takes 1 ns."""
    usual = {
        "page": 16,
        "most_running": 256,
        "budget": 8192,
        "caching": True,
        "whole_prompt": True,
        "lookahead": 0,
        "watermark": 0,
    }
    return Rules(**{**usual, **given}, base_ns=1, held_ns=0.0, token_ns=0.0, all_kinds=True)


def recorded(stream: str) -> tuple[Rules, Texts, int]:
    rows = REQUESTS[stream]
    columns = {name: np.array([int(row[name]) for row in rows]) for name in Texts._fields}
    first = {name: int(value) for name, value in rows[0].items()}
    given = {name: first[name] for name in ("budget", "caching", "whole_prompt", "lookahead")}
    return rules_of(**given, most_running=first["running"]), Texts(**columns), first["pages"]


def served(rules: Rules, texts: Texts, pages: int, steps: int = 7) -> tuple[Events, vllm.BlockPool, vllm.Batch]:
    """All events, the step of each as its time, and the state at the end."""
    pool, batch = vllm.start(rules, texts, pages)
    most = vllm.most_events(rules, pool, batch)
    out, found = vllm.new_out(most, steps), []
    while True:
        at, done = vllm.serve(rules, pool, batch, texts, out, most)
        if not done:
            return found, pool, batch
        for kind, page, request, step in zip(*(column[:at].tolist() for column in out[:4]), strict=True):
            when = out.time[step] if step < done and kind != vllm.FREED and kind != vllm.LET_GO else None
            found.append((-1 if when is None else int(when), request, NAMES[kind], page))


@pytest.mark.parametrize("stream", list(REQUESTS))
def test_the_events_are_those_of_vllm(stream: str) -> None:
    expected = [(int(row["step"]), int(row["request"]), row["event"], int(row["page"])) for row in RECORDED[stream]]
    found, _, _ = served(*recorded(stream))
    assert [event[1:] for event in found] == [event[1:] for event in expected]
    assert all(step in (-1, wanted) for (step, *_), (wanted, *_) in zip(found, expected, strict=True))


def test_plain_pages_are_those_of_vllm_without_caching() -> None:
    rules, texts, pages = recorded("big_400_nocache")
    plain = scheduler.Rules(
        kind=scheduler.PAGES, page=16, longest=4096, most_running=rules.most_running, token_bytes=1, prefix=0, base_ns=1, held_ns=0.0,
        token_ns=0.0,
    )  # fmt: skip
    requests = Requests(texts.prompt, texts.output, texts.arrival, np.zeros(texts.prompt.size, bool))
    found = []
    for served_now in Plain(plain, requests, (pages - 1) * 16).served(1000):
        found += zip((served_now.op == Op.ALLOC).tolist(), (served_now.id + 1).tolist(), strict=True)
    assert found == [(row["event"] == "take", int(row["page"])) for row in RECORDED["big_400_nocache"]]


def model_of(rules: Rules, texts: Texts, pages: int) -> Model:
    """The twin for the same requests, with real tokens."""

    def token(text: int, place: int) -> int:
        return text * 1_000_003 + place

    requests = []
    for number, (prompt, output, arrival, shared, lead, own) in enumerate(zip(*(each.tolist() for each in texts), strict=True)):
        tokens = [token(shared if place < lead else own, place) for place in range(prompt + output)]
        requests.append(Request(arrival, str(number), tokens[:prompt], output, tokens[prompt:]))
    return Model(
        requests, pages, bool(rules.caching), rules.budget, rules.most_running, bool(rules.whole_prompt), rules.lookahead,
        rules.watermark / pages, rules.page,
    )  # fmt: skip


@pytest.mark.parametrize("stream", list(REQUESTS))
def test_the_twin_is_vllm(stream: str) -> None:
    model = model_of(*recorded(stream))
    model.run()
    found = [(step, int(request), event, page) for step, request, event, page in model.events]
    assert found == [(int(row["step"]), int(row["request"]), row["event"], int(row["page"])) for row in RECORDED[stream]]


@pytest.mark.parametrize("seed", range(40))
def test_random_streams(seed: int) -> None:
    dice = random.Random(seed)
    page, count = dice.choice([1, 4, 16]), dice.randint(1, 60)
    lead = [dice.choice([0, 0, 3 * page, 5 * page + 1]) for _ in range(4)]
    rows = []
    for number in range(count):
        shared = dice.randrange(4)
        prompt = lead[shared] + dice.choice([0, 0, 1, page, dice.randint(1, 90)])
        # Some go on with a text that an earlier one with the same beginning had, as the turns of a conversation do.
        before = [row[5] for row in rows if row[3] == shared]
        own = dice.choice(before) if before and dice.random() < 0.4 else 4 + number
        rows.append((max(1, prompt), dice.randint(1, 40), dice.randint(1, 200), shared, lead[shared], own))
    rows.sort(key=lambda row: row[2])
    texts = Texts(*(np.array(column) for column in zip(*rows, strict=True)))
    lookahead = dice.choice([0, 0, 3])
    least = -(-(max(row[0] + row[1] for row in rows) + lookahead) // page) + 2
    pages = int(least * dice.choice([1, 1.3, 3, 20]))
    rules = rules_of(
        page=page, most_running=dice.choice([2, 16, 256]), budget=dice.choice([7, 64, 8192]), caching=dice.random() < 0.7,
        whole_prompt=dice.random() < 0.7, lookahead=lookahead, watermark=int(dice.choice([0.0, 0.0, 0.1]) * pages),
    )  # fmt: skip
    model = model_of(rules, texts, pages)
    model.watermark = (rules.watermark + 0.5) / pages
    model.run()
    found, pool, batch = served(rules, texts, pages)
    assert [event[1:] for event in found] == [(int(request), event, block) for _, request, event, block in model.events]
    assert all(step in (-1, wanted) for (step, *_), (wanted, *_) in zip(found, model.events, strict=True))
    counts = (pool.counts[HITS], pool.counts[EVICTIONS], batch.counts[PREEMPTIONS], batch.counts[COMPUTED])
    assert counts == (model.hits, model.evictions, model.preemptions, model.computed)


def test_a_trace_has_a_page_while_it_is_used() -> None:
    """Pages that are found after nobody used them are allocated again; no two requests' pages are one by chance."""
    trace = read(
        "gpt-serve:engine=vllm,preset=gpt2,requests=200,rate=20,kv_memory=96MiB,max_len=512,prefixes=3,prefix_tokens=64,"
        "prefix_share=0.8,turns=4,pause=1,lengths=alpaca,weights=false,activations=false"
    )
    live: set[int] = set()
    found = 0
    for batch in trace.batches():
        for op, block, tag in zip(batch.op.tolist(), batch.block.tolist(), batch.tag.tolist(), strict=True):
            if op == Op.ALLOC:
                assert block not in live
                live.add(block)
                found += tag == trace.tags.index("kv-cache found")
            else:
                live.remove(block)
    assert found > 50 and len(live) == 1, "page 0 stays"


@pytest.mark.parametrize(
    "options, reason",
    [
        ("engine=vllm,kv=grow", "engine=vllm keeps caches in pages"),
        ("turns=3", "turns is an option of engine=vllm"),
        ("engine=vllm,kv_memory=1GiB", "no room for a sequence of max_len=2048"),
    ],
)
def test_options_that_exclude_each_other(options: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read(f"gpt-serve:{options}")
