"""Generated traces: valid, seeded, the same bytes; each fast part beside a slow one; recipes that cannot be."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Run
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_serving import Server

import memtrace as package
from memtrace.errors import InputError, UsageError
from memtrace.reading import check, convert, read
from memtrace.reading.traces import recipe_of
from memtrace.trace import Op
from memtrace.workloads import load, workload_names
from memtrace.workloads.classical.phases import Births, churn
from memtrace.workloads.events import Piece
from memtrace.workloads.gpt_serve import Options, prepare
from memtrace.workloads.lifespans import NEVER, Spans, Stretch, events
from memtrace.workloads.options import options_of
from memtrace.workloads.recipe import SEED
from memtrace.workloads.serving.engine import Plain

SMALL = {
    "agent": ["agents=20", "agents=40,steps=6,forks=0.2,segment=4,context=2000", "agents=5,kv_token=0,threads=1"],
    "classic": [
        *(f"events=30000,live=300,pattern={pattern}" for pattern in ("steady", "ramp", "peaks", "plateaus", "comb", "ladder")),
        *(
            f"events=20000,sizes={kind},lifetimes={kind},live=50"
            for kind in ("fixed", "uniform", "hyperexponential", "power", "bimodal")
        ),
    ],
    "firmware": ["hours=0.4", "hours=2.5,sensors=0,traffic=0,leak=20", "hours=1,period=0.5,upload=7"],
    "fit": [f"trace={ROOT / 'traces' / 'gpt-6x512-fp32.csv'}"],
    "game": ["frames=700", "frames=5000,scratch=0,level_seconds=5,assets=20"],
    "gpt-serve": [f"requests=12,kv={kv},preset=gpt2,kv_memory=400MiB" for kv in ("max", "pow2", "oracle", "grow", "pages")]
    + ["requests=30,preset=llama-70b,tensor_parallel=8,prefix_tokens=100,prefix_share=0.5,weights=false,activations=false"],
    "gpt-train": [
        "layers=2,steps=4",
        "layers=2,steps=40,seq_min=16,seq=256",
        "layers=2,steps=3,attention=math,dropout=true,checkpointing=selective,accumulate=2",
        "layers=3,steps=3,checkpointing=full,optimizer=sgd,clip=false,dropout=true",
        "preset=llama-70b,layers=2,steps=3,tensor_parallel=8,sequence_parallel=true,data_parallel=4,zero=3",
        "preset=llama-7b,layers=2,steps=3,attention=math,dtype=fp32,data_parallel=4,zero=2,checkpointing=selective",
    ],
    "kernel-pages": ["minutes=0.3", "minutes=1.4,cpus=1,forks=1,reads=20,load=0.5", "minutes=0.1,forks=0,slabs=0,packets=0"],
    "nlp": ["steps=5", "steps=30,bucket=8,model=distilbert,attention=flash"],
    "recommender": ["steps=5,tables=4", "steps=30,tables=3,traffic=0"],
    "robson": ["words=1024,largest=32", "words=1024,largest=32,against=best-fit", "words=4096,largest=2,against=best-fit"],
    "speech": ["sessions=20", "sessions=70,layers=2,chunk_ms=1000,workers=1"],
    "vision": ["steps=5", "steps=30,batch=1,short_min=32,short_max=64"],
}
SPECS = [f"{name}:{options}" for name, several in SMALL.items() for options in several]


def rows_of(pieces: Iterator[Piece]) -> list[tuple[int, int, int]]:
    found = []
    for piece in pieces:
        sizes = np.where(piece.op == Op.FREE, 0, piece.size)
        found += list(zip(piece.op.tolist(), piece.id.tolist(), sizes.tolist(), strict=True))
    return found


def test_every_workload_has_samples() -> None:
    assert set(SMALL) == set(workload_names())


@pytest.mark.parametrize("spec", SPECS)
def test_every_trace_is_valid_and_tagged(spec: str) -> None:
    assert check(spec) == []
    trace = read(spec)
    assert trace.tags and trace.metadata["workload"] == recipe_of(spec).label
    tagged = np.concatenate([np.broadcast_to(batch.tag, batch.op.size) for batch in trace.batches()])
    ops = np.concatenate([batch.op for batch in trace.batches()])
    assert (tagged[ops == Op.ALLOC] >= 0).all() or spec.startswith("fit")


@pytest.mark.parametrize("name", workload_names())
def test_the_same_recipe_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    spec = f"{name}:{SMALL[name][-1]}"
    first, again = tmp_path / "first.parquet", tmp_path / "again.parquet"
    convert(spec, first)
    convert(spec, again)
    assert first.read_bytes() == again.read_bytes()
    if name not in ("robson",) and "seq_min" not in spec and not spec.startswith("gpt-train"):
        assert read(f"{spec},seed=1").sha256 != read(spec).sha256
    assert read(spec).facts.events == read(first).facts.events


@pytest.mark.parametrize("name", workload_names())
def test_every_option_says_what_it_is(name: str) -> None:
    for option in options_of(load(name).generate).values():
        assert option.about and option.takes(), option.name


@pytest.mark.parametrize("pattern", ["steady", "peaks", "plateaus", "ramp"])
def test_live_blocks_are_as_many_as_asked(pattern: str) -> None:
    facts = read(f"classic:pattern={pattern},live=2000,events=200000").facts
    assert 0.7 * 2000 <= facts.max_live <= 1.6 * 2000


def test_distributions_have_their_mean_and_spread() -> None:
    from memtrace.workloads.chance import draw

    for kind in ("fixed", "uniform", "exponential", "hyperexponential", "lognormal", "power", "bimodal"):
        drawn = draw(kind, np.random.default_rng(1), 400_000, 100.0, 2.0)  # type: ignore[arg-type]
        assert drawn.mean() == pytest.approx(100, rel=0.2 if kind == "power" else 0.02), kind
        if kind in ("hyperexponential", "lognormal"):
            assert drawn.std() / drawn.mean() == pytest.approx(2, rel=0.1), kind


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(-5, 40)), max_size=200), st.integers(1, 500), st.integers(1, 7))
@settings(deadline=None)
def test_churn_is_a_queue_by_time_of_death(blocks: list[tuple[int, int]], events: int, batches: int) -> None:
    size = np.array([block[0] for block in blocks], np.int64)
    due = np.arange(size.size) + np.array([block[1] for block in blocks], np.int64).reshape(-1)
    parts = [
        Births(s, d, np.zeros(s.size, np.int32))
        for s, d in zip(np.array_split(size, batches), np.array_split(due, batches), strict=True)
    ]
    found = rows_of(churn(iter(parts), events))

    queue: list[tuple[int, int]] = []
    expected: list[tuple[int, int, int]] = []
    for clock in range(len(blocks) + 1):
        while queue and queue[0][0] <= clock:
            expected.append((1, heapq.heappop(queue)[1], 0))
        if clock < len(blocks):
            expected.append((0, clock, blocks[clock][0]))
            heapq.heappush(queue, (max(int(due[clock]), clock + 1), clock))
    dies = np.maximum(due, np.arange(due.size) + 1).tolist()

    def by_death(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Blocks that die at the same time may do so in any order."""
        return [(op, dies[id] if op else id, size) for op, id, size in rows]

    assert by_death(found) == by_death(expected[:events])
    freed = [id for op, id, _ in found if op]
    assert len(freed) == len(set(freed))


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60), st.integers(1, 9)), min_size=1, max_size=60), st.integers(1, 5)
)
@settings(deadline=None)
def test_lifespans_come_in_order_of_time(blocks: list[tuple[int, int, int]], stretches: int) -> None:
    blocks = sorted(blocks)
    ends = [101 * (k + 1) // stretches for k in range(stretches - 1)] + [NEVER]
    given_: list[Stretch] = []
    for before, end in zip([-1, *ends], ends, strict=False):
        part = np.array([(b, b + life, s) for b, life, s in blocks if before <= b < end], np.int64).reshape(-1, 3)
        given_.append(
            Stretch(end, Spans(part[:, 0], part[:, 1], part[:, 2], np.zeros(len(part), np.int32), np.zeros(len(part), np.int64)))
        )
    found = rows_of(events(given_))
    expected = []
    for number, (birth, life, size) in enumerate(blocks):
        expected += [(birth, 1, number, size), (birth + max(1, life), 0, number, 0)]
    assert found == [(0 if birth else 1, number, size) for _, birth, number, size in sorted(expected, key=lambda row: row[:3])]


@pytest.mark.parametrize("kv", ["max", "pow2", "oracle", "grow", "pages"])
@pytest.mark.parametrize("seed", range(6))
def test_serving_is_continuous_batching(kv: str, seed: int) -> None:
    dice = random.Random(seed)
    longest = dice.choice([64, 200, 512])
    given_ = {
        "preset": "gpt2", "requests": dice.randint(1, 120), "rate": dice.choice([0.5, 20.0, 2000.0]), "lengths": "alpaca",
        "prompt_mean": dice.choice([None, 5.0, 60.0]), "output_mean": dice.choice([None, 20.0]), "max_len": longest, "kv": kv,
        "page": dice.choice([1, 7, 16]), "kv_memory": (4 * longest + 16) * 36_864 * dice.choice([1, 2, 9]), "running": dice.choice([2, 16, 300]),
        "prefix_tokens": 0, "prefix_share": 0.0, "tensor_parallel": 1, "weights": False, "activations": False,
    }  # fmt: skip
    run, _ = prepare(np.random.default_rng(seed), Options(**given_))
    assert isinstance(run.scheduler, Plain)
    found = [row for piece in run.pieces() for row in zip(piece.op.tolist(), piece.size.tolist(), strict=True)]
    rules, requests = run.scheduler.rules, run.scheduler.requests
    server = Server(
        kv, rules.page, longest, rules.most_running, run.scheduler.cache_tokens, requests.prompt.tolist(), requests.output.tolist(),
        requests.arrival.tolist(), (rules.base_ns, rules.held_ns, rules.token_ns),
    )  # fmt: skip
    server.run()
    names = {"alloc": int(Op.ALLOC), "free": int(Op.FREE), "copy": int(Op.COPY)}
    expected = [(names[op], tokens * rules.token_bytes) for op, tokens in server.events]
    assert [(op, 0 if op == Op.FREE else size) for op, size in found] == expected
    assert run.scheduler.share() == pytest.approx(server.held / server.reserved)


def test_a_shared_prefix_is_kept_once() -> None:
    """Those who share it need pages for the rest of their prompts only."""
    options = (
        "kv=pages,page=16,prefix_tokens=100,prefix_share=0.5,requests=60,lengths=alpaca,rate=50,preset=gpt2,kv_memory=200MiB"
    )
    asked = recipe_of(f"gpt-serve:{options},max_len=512,weights=false,activations=false").options
    run, _ = prepare(np.random.default_rng(3), Options(**asked))  # type: ignore[arg-type]
    assert isinstance(run.scheduler, Plain)
    rules, requests = run.scheduler.rules, run.scheduler.requests
    found = [row for piece in run.pieces() for row in zip(piece.op.tolist(), piece.size.tolist(), strict=True)]
    assert rules.prefix == 96 and 0 < requests.prefixed.sum() < 60
    own = (requests.prompt - np.where(requests.prefixed, rules.prefix, 0)).tolist()
    server = Server(
        "pages", 16, 512, rules.most_running, run.scheduler.cache_tokens, own, requests.output.tolist(), requests.arrival.tolist(),
        (rules.base_ns, rules.held_ns, rules.token_ns),
    )  # fmt: skip
    server.run()
    names = {"alloc": int(Op.ALLOC), "free": int(Op.FREE)}
    expected = [(names["alloc"], 16)] * 6 + [(names[op], tokens) for op, tokens in server.events]
    assert [(op, 0 if op == Op.FREE else size // rules.token_bytes) for op, size in found] == expected


def test_serving_takes_lengths_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("prompt,output\n10,5\n3,1\n")
    facts = read(f"gpt-serve:lengths={path},requests=4,kv=oracle,activations=false,weights=false").facts
    assert facts.allocs == 4 and facts.total_bytes == 2 * (15 + 4) * 819_200
    path.write_text("prompt,output\n10,x\n")
    with pytest.raises(InputError, match=r"lengths\.csv:2"):
        read(f"gpt-serve:lengths={path}")


@pytest.mark.parametrize(("words", "largest"), [(1 << 12, 16), (1 << 14, 64), (1 << 16, 256)])
def test_robson_drives_first_fit_to_his_bound(words: int, largest: int) -> None:
    trace = read(f"robson:words={words},largest={largest}")
    assert trace.facts.peak_live_bytes <= words * 16
    row = package.measure(package.replay(trace, "first-fit"))
    assert row["peak_reserved_bytes"] / 16 >= words / 2 * np.log2(largest) + words - largest + 1  # Robson 1971, for any policy


@pytest.mark.parametrize(("words", "largest"), [(1 << 12, 16), (1 << 14, 64)])
def test_best_fit_is_driven_to_the_sum_of_all_levels(words: int, largest: int) -> None:
    trace = read(f"robson:words={words},largest={largest},against=best-fit")
    assert trace.facts.peak_live_bytes <= words * 16
    first = largest // 2
    row = 2 * (words // (2 * (2 * largest - first)))
    reserved = package.measure(package.replay(trace, "best-fit"))["peak_reserved_bytes"] // 16
    assert reserved == sum(row * (extent + 1) for extent in range(first, largest))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("clasic", "did you mean 'classic'?"),
        ("classic:lve=3", "did you mean 'live'?"),
        ("classic:live=-3", "live=-3 is out of range; it is 2 to 100,000,000"),
        ("classic:events=many", "events=many is no whole number"),
        ("classic:spread=nan", "spread=nan is out of range"),
        ("classic:mean=4G", "write 4GiB (2^30) or 4GB (10^9)"),
        ("classic:smallest=4KiB,largest=1KiB", "smallest=4096 is above largest=1024"),
        ("classic:seed=-1", "seed=-1 is out of range"),
        ("classic:live", "'live' is not key=value"),
        ("robson:words=1000", "words=1000 is no power of two; the nearest are 512 and 1024"),
        ("classic:live=10,live=20", "live is given twice"),
        ("gpt-train:heads=7,hidden=512", "heads=7 does not divide hidden=512; the nearest that does is 8"),
        ("gpt-train:heads=7", "heads=7 does not divide hidden=768; the nearest that does is 6"),
        ("gpt-train:hidden=1000", "heads=12 does not divide hidden=1000"),
        ("gpt-train:tensor_parallel=5", "tensor_parallel=5 does not divide heads=12"),
        ("gpt-train:batch=-8", "batch=-8 is out of range"),
        ("gpt-train:batch=1e3", "batch=1e3 is no whole number"),
        ("gpt-train:seq=4096", "seq=4096 is longer than context=1024"),
        ("gpt-train:seq_min=2000", "seq_min=2000 is above seq=1024"),
        ("gpt-train:zero=2", "zero=2 needs data_parallel above 1"),
        ("gpt-train:preset=gpt5", "preset=gpt5 is none of gpt2, "),
        ("gpt-train:batch=1000000,context=16000000,attention=math", "more than an address space holds"),
        ("gpt-serve:kv_memory=1MiB", "no room for a sequence of max_len=2048"),
        ("gpt-serve:lengths=nowhere.csv", "nowhere.csv: no such file"),
        ("vision:short_min=900", "short_min=900 is above short_max=800"),
        ("nlp:pad=300", "pad=300 is above longest=256"),
        ("fit", "trace="),
    ],
)
def test_recipes_that_cannot_be(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        for _ in recipe_of(spec).batches():
            break
    assert said in str(error.value)


def test_a_file_goes_before_a_workload_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("classic").write_text("op,id,size\nalloc,1,5\n")
    assert read("classic").facts.events == 1
    with pytest.raises(InputError, match="did you mean the workload 'gpt-train'"):
        read("gpt-trian:layers=3")


def test_names_and_labels() -> None:
    recipe = recipe_of("gpt-train:batch=4,layers=2", {"steps": "3"}, 7)
    assert recipe.label == "gpt-train:layers=2,batch=4,steps=3,seed=7"
    assert recipe.name == "gpt-train-layers-2-batch-4-steps-3-seed-7"
    assert recipe_of(recipe.label).label == recipe.label
    assert SEED.name not in recipe.options


def test_the_page_of_reproductions_is_what_is_measured() -> None:
    from docs import reproductions

    text = (ROOT / "docs" / "reproductions.md").read_text()
    assert reproductions.section(reproductions.robson) in text
    assert reproductions.states() + reproductions.models() in text
    for each in reproductions.SECTIONS:
        assert f"\n## {(each.__doc__ or '').partition(chr(10))[0]}\n" in text


def test_the_commands(memtrace: Run, tmp_path: Path) -> None:
    done = memtrace("generate", "classic", "--set", "events=1000", "--set", "live=20", "--seed", "3", "-o", "t.parquet")
    assert done.returncode == 0 and "1,000 events of classic:events=1000,live=20,seed=3" in done.stderr
    assert (tmp_path / "t.parquet").exists()
    assert memtrace("check", "t.parquet").returncode == 0
    bad = memtrace("generate", "classic", "--set", "live=0", "-o", "bad.parquet")
    assert bad.returncode == 2 and "live=0 is out of range" in bad.stderr and not (tmp_path / "bad.parquet").exists()
    listed = memtrace("workloads")
    assert all(name in listed.stdout for name in workload_names())
    assert "tensor_parallel" in memtrace("workloads", "gpt-train").stdout
    ran = memtrace("run", "classic:events=1000,live=20", "-p", "bump", "--no-report")
    assert ran.returncode == 0 and (tmp_path / "reports" / "classic-events-1000-live-20" / "summary.parquet").exists()
