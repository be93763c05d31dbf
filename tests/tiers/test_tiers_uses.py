"""When blocks are used: the rules of a training step against their twin, and traces that do not tell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Event
from oracle_training import derive_slowly
from tier_cases import trace_of

from memtrace.errors import UsageError
from memtrace.reading import read
from memtrace.tiers.replay import pinned_tags, ratio_tables, replay_tiers
from memtrace.tiers.tier import Compression, Plan, Tier
from memtrace.tiers.training import derive
from memtrace.tiers.uses import NEEDED, Extra, free_is_use, rule_of
from memtrace.trace import Trace, from_events
from memtrace.trace.tags import kind_of, kinds_of

KINDS = ("weight", "gradient", "activation", "optimizer", "input", "temporary")


NAMED = [
    ("alloc", 1, 100, "weight head.weight"), ("alloc", 2, 200, "weight up.weight"), ("alloc", 3, 8, "input tokens"),
    ("alloc", 4, 50, "activation 1"), ("alloc", 5, 60, "activation 2"), ("alloc", 6, 1, None),
    ("alloc", 7, 200, "gradient up.weight"), ("free", 5, None, None), ("alloc", 8, 100, "gradient head.weight"),
    ("free", 4, None, None), ("alloc", 9, 400, "tensor"), ("free", 9, None, None),
]  # fmt: skip


def trace_of_rows(rows: list[tuple[str, int, int | None, str | None]]) -> Trace:
    """Return a trace of rows (op, id, size, tag)."""
    return from_events([{k: v for k, v in zip(("op", "id", "size", "tag"), row, strict=True) if v is not None} for row in rows])


def test_the_first_word_of_a_tag_is_its_kind() -> None:
    """Blocks have names behind their kinds, as a recorded training step has; rules, pins and ratios go by the kinds."""
    named = trace_of_rows(NAMED)
    plain = trace_of_rows([(op, block, size, tag and kind_of(tag)) for op, block, size, tag in NAMED])
    assert rule_of(named, "auto") == rule_of(plain, "auto") == "training"
    for found, expected in zip(derive(named, interpret=True), derive(plain, interpret=True), strict=True):
        assert found.tolist() == expected.tolist() and found.size
    assert free_is_use(named, "training").tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 1]
    assert pinned_tags(named, ("weight",)).tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert pinned_tags(named, ("weight up.weight", "tensor")).tolist() == [0, 1, 0, 0, 0, 0, 0, 1, 0]
    with pytest.raises(UsageError, match="did you mean 'weight'"):
        pinned_tags(named, ("weigth",))
    tier = Tier(
        name="hbm",
        capacity=1 << 20,
        bandwidth=1e9,
        compression=Compression(ratios={"weight": (2000,), "weight up.weight": (3000,)}),
    )
    assert ratio_tables([tier], named.tags)[0][0, :3, 0].tolist() == [2000, 3000, 1000]
    assert (kind_of(""), kind_of(" a  b "), kinds_of(["w 1", "w 2", "x"])) == ("", "a", ("w", "x"))


def test_uses_of_a_training_step() -> None:
    rows = [
        ("alloc", 1, 100, "weight"), ("alloc", 2, 200, "weight"), ("alloc", 3, 8, "input"),
        ("alloc", 4, 50, "activation"), ("alloc", 5, 60, "activation"), ("alloc", 6, 1, "temporary"),
        ("alloc", 7, 200, "gradient"), ("free", 5, None, None), ("alloc", 8, 100, "gradient"), ("free", 4, None, None),
        ("alloc", 9, 400, "temporary"), ("free", 9, None, None),
    ]  # fmt: skip
    trace = from_events([{k: v for k, v in zip(("op", "id", "size", "tag"), row, strict=True) if v is not None} for row in rows])
    events, slots = derive(trace)
    # Weight 2 is read after its input 5 (event 4) was written and at its gradient (event 6); weight 1 likewise; then the step.
    assert list(zip(events.tolist(), slots.tolist(), strict=True)) == [
        (4, 0),
        (5, 1),
        (6, 1),
        (8, 0),
        (9, 0),
        (9, 6),
        (10, 1),
        (10, 4),
    ]


def test_a_trace_that_does_not_say_when_blocks_are_used_is_refused() -> None:
    trace = trace_of([Event("alloc", 1, 8)])
    with pytest.raises(UsageError, match="neither access events nor the tags"):
        replay_tiers(trace, [Tier("a", 8, 1e9), Tier("b", 8, 1e9)])
    with pytest.raises(UsageError, match="no access events"):
        replay_tiers(trace, [Tier("a", 8, 1e9), Tier("b", 8, 1e9)], Plan(uses="access"))


STEPS = st.lists(
    st.tuples(st.sampled_from("aaaf"), st.sampled_from(KINDS), st.sampled_from((16, 32, 48)), st.integers(0, 99)), max_size=120
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 9))
def test_uses_are_those_of_the_twin(steps: list[tuple[str, str, int, int]], room: int) -> None:
    trace = training_trace(steps)
    assert listed(derive(trace, interpret=True, room=room)) == listed(derive_slowly(trace))


WORKLOADS = (
    "gpt-train:preset=gpt2,batch=1,steps=3",
    "gpt-train:preset=gpt2,steps=2,accumulate=3",
    "gpt-train:preset=gpt2,steps=2,zero=3,data_parallel=8",
)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_uses_of_workloads(workload: str) -> None:
    trace = read(workload)
    found = derive(trace)
    assert found[0].size > 1000 and listed(found) == listed(derive_slowly(trace))


def training_trace(steps: list[tuple[str, str, int, int]]) -> Trace:
    """Allocs by tag, and frees of any block that is live; all that training names are there."""
    live, rows = [0, 1, 2], [("alloc", n, 16, tag) for n, tag in enumerate(NEEDED)]
    for number, (op, tag, size, which) in enumerate(steps, len(NEEDED)):
        if op == "a":
            live.append(number)
            rows.append(("alloc", number, size, tag))
        elif live:
            rows.append(("free", live.pop(which % len(live)), None, None))
    keys = ("op", "id", "size", "tag")
    return from_events([{k: v for k, v in zip(keys, row, strict=True) if v is not None} for row in rows])


def listed(uses: Extra) -> list[tuple[int, int]]:
    return list(zip(uses[0].tolist(), uses[1].tolist(), strict=True))


def test_uses_are_worked_out_once_for_a_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, plan = training_trace([("a", "input", 16, 0), ("a", "gradient", 16, 0)]), Plan()
    tiers = [Tier("a", 64, 1e9), Tier("b", 1 << 20, 1e9)]
    replayed = replay_tiers(trace, tiers, plan, interpret=True)
    asked = list[str]()
    monkeypatch.setattr("memtrace.tiers.uses.extra_uses", lambda trace, rule: asked.append(rule))
    again = replay_tiers(trace, tiers, plan, interpret=True, known=replayed.uses)
    assert asked == [] and (again.books.tiers == replayed.books.tiers).all() and replayed.total("USE") > 5
