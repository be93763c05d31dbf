"""Gates: what each expression means on known rows, and what is said of those that mean nothing."""

from __future__ import annotations

import random
import time
from decimal import Decimal, getcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtrace.comparing import compare_rows
from memtrace.comparing.comparison import Comparison, by_key
from memtrace.comparing.gates import judge
from memtrace.comparing.grammar import parse_gate
from memtrace.errors import InputError, UsageError

Row = dict[str, Any]


def row(trace: str, policy: str, reserved: int, **others: Any) -> Row:
    return {
        "trace": trace,
        "policy": policy,
        "trace_sha256": "ab" * 32,
        "options": "{}",
        "capacity_bytes": None,
        "events": 100,
        "lower_bound_bytes": 900,
        "peak_reserved_bytes": reserved,
        "peak_allocated_bytes": 900,
        "external_frag_at_peak": 0.1,
        "internal_frag_at_peak": 0.0,
        "utilisation_at_peak": 0.9,
        "search_mean": None,
        "moved_bytes": 0,
        "status": "ok",
        "oom_event": None,
        "failed_allocs": 0,
        **others,
    }


def oom(trace: str, policy: str, reserved: int, event: int) -> Row:
    return row(trace, policy, reserved, status="oom", oom_event=event, failed_allocs=1)


BASE = [
    row("gpt", "best-fit", 1000),
    row("gpt", "first-fit", 1000),
    row("gcc", "best-fit", 2000),
    row("gcc", "buddy", 2600),
    row("gcc", "bump", 9000),
]
HEAD = [
    row("gpt", "best-fit", 1010, external_frag_at_peak=0.15),
    row("gpt", "first-fit", 1011, external_frag_at_peak=0.16, utilisation_at_peak=0.8, moved_bytes=4096),
    row("gcc", "best-fit", 2000),
    oom("gcc", "buddy", 1500, 70),
    row("gcc", "slab", 2100),
]
GPT_BEST, GPT_FIRST = ("gpt", "best-fit"), ("gpt", "first-fit")
GCC_BEST, BUDDY, BUMP, SLAB = ("gcc", "best-fit"), ("gcc", "buddy"), ("gcc", "bump"), ("gcc", "slab")
EVERY = {GPT_BEST, GPT_FIRST, GCC_BEST, SLAB}
LOST = {BUDDY, BUMP}  # ran out of memory; is missing

# What fails, of the rows in scope.
GOOD = {
    "peak_reserved_bytes>+1%": {GPT_FIRST, *LOST},  # 1010 is 1 % above 1000, and not above that
    "peak_reserved_bytes>=+1%": {GPT_BEST, GPT_FIRST, *LOST},
    "peak_reserved_bytes > +1.1%": LOST,
    "peak_reserved_bytes > base + 10": {GPT_FIRST, *LOST},
    "peak_reserved_bytes > 1.01 * base": {GPT_FIRST, *LOST},
    "peak_reserved_bytes > +10B": {GPT_FIRST, *LOST},
    "peak_reserved_bytes > +0.01KiB": {GPT_FIRST, *LOST},  # 10.24 B are cut to whole bytes
    "external_frag_at_peak>0.15": {GPT_FIRST, *LOST},
    "external_frag_at_peak > 15%": {GPT_FIRST, *LOST},
    "external_frag_at_peak > +0.05": {GPT_FIRST, *LOST},
    "utilisation_at_peak < -5%": {GPT_FIRST, *LOST},
    'peak_reserved_bytes > policy("best-fit")': {GPT_FIRST, SLAB, *LOST},
    "peak_reserved_bytes > 1.05 * policy('best-fit')": LOST,
    'peak_reserved_bytes > policy("best-fit") + 4.9%': {SLAB, *LOST},
    "peak_reserved_bytes > 1.2 * lower_bound_bytes": {GCC_BEST, SLAB, *LOST},
    "peak_reserved_bytes > 2KiB": {SLAB, *LOST},
    "status == oom": {BUDDY, BUMP},
    'status != "ok"': {BUDDY, BUMP},
    "status != base": {BUDDY, BUMP},
    "failed_allocs > 0": {BUDDY, BUMP},
    "moved_bytes > 0": {GPT_FIRST, *LOST},
    "moved_bytes > +0%": {GPT_FIRST, *LOST},
    'peak_reserved_bytes>+0% where trace = "gpt"': {GPT_BEST, GPT_FIRST},
    'peak_reserved_bytes > +0% where policy = "*-fit" and trace="g?t"': {GPT_BEST, GPT_FIRST},
    'peak_reserved_bytes>1 where policy = "best-fit"': {GPT_BEST, GCC_BEST},
    "  peak_reserved_bytes  >  1_000_000  ": LOST,
}

WRONG = {
    "": "the name of a measure is expected",
    "peak_reserved_byte>+1%": "unknown measure 'peak_reserved_byte'; did you mean 'peak_reserved_bytes'?",
    "peak_reserved_bytes": "a comparison is expected",
    "peak_reserved_bytes >": "a limit is expected",
    "peak_reserved_bytes >> 5": "a limit is expected",
    "peak_reserved_bytes = 5": "a comparison is expected",
    "peak_reserved_bytes > 1%": "1% of what? write +1%",
    "peak_reserved_bytes > 5G": "5GiB",
    "peak_reserved_bytes > +": "an amount is expected after the sign",
    "external_frag_at_peak > 5KiB": "external_frag_at_peak is no size",
    "peak_reserved_bytes > external_frag_at_peak": "cannot be compared with",
    "peak_reserved_bytes > status": "cannot be compared with",
    "peak_reserved_bytes > 5 and search_mean > 3": "is too much; a gate has one comparison",
    "peak_reserved_bytes > policy(best-fit)": "the policy's name in quotes is expected",
    'peak_reserved_bytes > policy("best-fit"': "')' is expected",
    'peak_reserved_bytes > policy("")': "the policy's name in quotes is expected",
    "peak_reserved_bytes > 5 where": 'trace = "..." or policy = "..." is expected',
    'peak_reserved_bytes > 5 where polcy = "x"': 'trace = "..." or policy = "..." is expected',
    'peak_reserved_bytes > 5 where trace = "x" and trace = "y"': "each at most once",
    "status > oom": "compare it with == or !=",
    "status == broken": "status is one of ok, oom",
    "5 < peak_reserved_bytes": "the name of a measure is expected",
}

HOSTILE = {
    '__import__("os").system("touch /tmp/owned")': "'.' means nothing here",
    "peak_reserved_bytes.__class__ > 5": "'.' means nothing here",
    "peak_reserved_bytes > (lambda: 5)()": "':' means nothing here",
    "peak_reserved_bytes > 9**9**9**9": "a limit is expected|name of a measure is expected|unknown measure",
    "peak_reserved_bytes > 1e999999999": "e999999999",
    "peak_reserved_bytes > " + "9" * 31: "a number has at most 30 digits",
    "peak_reserved_bytes > 5; rm -rf /": "';' means nothing here",
    "peak_reserved_bytes > $(id)": "'$' means nothing here",
    "peak_reserved_bytes > `id`": "'`' means nothing here",
    "peak_reserved_bytes\n> nan": "unknown measure 'nan'",
    "peak_reserved_bytes > ٣": "means nothing here",
    "peak_reserved_bytes > 5 # " + "x" * 500: "a gate has at most 500",
    "(" * 400: "the name of a measure is expected",
    "peak_reserved_bytes > 5\x00": "means nothing here",
}


def failed(outcomes: Any) -> set[tuple[str, str]]:
    return {(outcome.trace, outcome.policy) for outcome in outcomes if outcome.state == "failed"}


@pytest.mark.parametrize("text", list(GOOD))
def test_what_a_gate_means(text: str) -> None:
    outcomes = judge([parse_gate(text)], by_key(HEAD, "head"), by_key(BASE, "base"))
    expected = GOOD[text]
    assert failed(outcomes) == expected
    for outcome in outcomes:
        assert outcome.rule == text.strip() and outcome.text


@pytest.mark.parametrize("text", [*WRONG, *HOSTILE])
def test_what_a_gate_cannot_be(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(UsageError) as caught:
        parse_gate(text)
    said = {**WRONG, **HOSTILE}[text]
    assert any(part in str(caught.value) for part in said.split("|")), caught.value
    assert str(caught.value).startswith("gate ") and time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('peak_reserved_bytes > 5 where trace = "gtp"', "did you mean 'gpt'?"),
        ('peak_reserved_bytes > 5 where policy = "bst-fit"', "did you mean 'best-fit'?"),
        ('peak_reserved_bytes > 5 where policy = "slab" and trace = "gpt"', "no policy 'slab' on a trace 'gpt'"),
        ('peak_reserved_bytes > policy("besst-fit")', "did you mean 'best-fit'?"),
    ],
)
def test_a_gate_that_looks_at_nothing_is_a_mistake(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="gate ") as caught:
        judge([parse_gate(text)], by_key(HEAD, "head"), by_key(BASE, "base"))
    assert said in str(caught.value)


def test_without_a_base() -> None:
    with pytest.raises(UsageError, match="compares with a base, and there is none"):
        judge([parse_gate("peak_reserved_bytes>+1%")], by_key(HEAD, "head"), None)
    assert failed(judge([parse_gate("peak_reserved_bytes > 2050")], by_key(HEAD, "head"), None)) == {SLAB, BUDDY}


def test_a_measure_without_any_value_guards_nothing_and_fails() -> None:
    (outcome,) = judge([parse_gate("search_mean > 10")], by_key([HEAD[0]], "head"), None)
    assert outcome.state == "failed" and "no value in any row" in outcome.text
    some = judge([parse_gate("search_mean > 10")], by_key([HEAD[0], row("gpt", "bump", 5, search_mean=11.0)], "head"), None)
    assert [outcome.state for outcome in some] == ["failed", "failed"] and "not known of this policy" in some[0].text


@pytest.mark.parametrize(
    ("base", "head", "state"),
    [
        (row("t", "p", 100), oom("t", "p", 50, 7), "failed"),
        (oom("t", "p", 50, 7), row("t", "p", 100), "skipped"),
        (oom("t", "p", 50, 7), oom("t", "p", 50, 6), "failed"),
        (oom("t", "p", 50, 7), oom("t", "p", 90, 8), "skipped"),
        (oom("t", "p", 50, 7), oom("t", "p", 60, 7), "failed"),
        (oom("t", "p", 50, 7), oom("t", "p", 50, 7), "passed"),
        (row("t", "p", 100, failed_allocs=2), row("t", "p", 90, failed_allocs=3), "failed"),
        (row("t", "p", 100, failed_allocs=2), row("t", "p", 90, failed_allocs=2), "passed"),
    ],
)
def test_a_replay_that_ended_early_does_not_pass_for_its_small_peak(base: Row, head: Row, state: str) -> None:
    (outcome,) = judge([parse_gate("peak_reserved_bytes>+1%")], by_key([head], "head"), by_key([base], "base"))
    assert outcome.state == state, outcome.text


def test_a_base_of_an_older_version_lacks_a_column() -> None:
    old = {name: value for name, value in BASE[0].items() if name != "moved_bytes"}
    with pytest.raises(InputError, match="no column moved_bytes"):
        judge([parse_gate("moved_bytes>+1%")], by_key([HEAD[0]], "head"), by_key([old], "base"))


def test_a_failed_gate_names_rule_value_and_limit() -> None:
    head = by_key([row("t", "p", (1 << 53) + 1)], "head")
    (outcome,) = judge([parse_gate("peak_reserved_bytes > 9007199254740992")], head, None)
    assert outcome.state == "failed", "2^53 + 1 is not 2^53: no float on the way"
    assert outcome.text == "t, p: measured 9,007,199,254,740,993 B (8.0 PiB), limit 9,007,199,254,740,992 B (8.0 PiB)"


@given(
    st.integers(0, 1 << 62),
    st.integers(0, 1 << 62),
    st.decimals(0, 1000, places=3),
    st.sampled_from("+-"),
    st.sampled_from([">", ">=", "<", "<=", "==", "!="]),
)
def test_percentages_are_exact(base: int, head: int, percent: Decimal, sign: str, op: str) -> None:
    """Beside decimal arithmetic with digits to spare."""
    getcontext().prec = 60
    share = percent if sign == "+" else -percent
    limit = Decimal(base) * (100 + share) / 100
    expected = {">": head > limit, ">=": head >= limit, "<": head < limit, "<=": head <= limit}
    expected |= {"==": head == limit, "!=": head != limit}
    gate = parse_gate(f"peak_reserved_bytes {op} {sign}{percent}%")
    found = judge([gate], by_key([row("t", "p", head)], "head"), by_key([row("t", "p", base)], "base"))
    assert (found[0].state == "failed") == expected[op]


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*"()<>=+-*%\"' 1", "where ", "policy", "base", "events ", "status "])).map("".join)
)
def test_no_text_brings_the_parser_down(text: str) -> None:
    try:
        parse_gate(text)
    except UsageError as error:
        assert str(error)


# Changes


def compared(base: list[Row], head: list[Row]) -> Comparison:
    return compare_rows(by_key(base, "base"), by_key(head, "head"), [])


def test_worst_first_and_in_words() -> None:
    head = [row("a", "p", 1250), row("b", "p", 2000), row("c", "p", 900), row("d", "p", 1000, external_frag_at_peak=0.2)]
    found = compared([row(trace, "p", 1000) for trace in "abcd"], head)
    told = [(change.trace, change.measure, change.words) for change in found.worse]
    assert told == [
        ("b", "peak_reserved_bytes", "2.00x larger"),
        ("a", "peak_reserved_bytes", "1.25x larger"),
        ("d", "external_frag_at_peak", "+10.0 points"),
    ]
    assert [(change.trace, change.words) for change in found.better] == [("c", "1.11x smaller")]


def test_a_byte_is_told() -> None:
    (change,) = compared([row("a", "p", 1 << 40)], [row("a", "p", (1 << 40) + 16)]).changes
    assert change.words == "+16 B"


def test_running_out_of_memory_comes_before_all_else() -> None:
    base = [row("a", "p", 1000), row("b", "p", 1000)]
    found = compared(base, [row("a", "p", 5000), oom("b", "p", 10, 3)])
    assert [change.words for change in found.worse] == ["out of memory at event 3; before: ok", "5.00x larger"]
    assert not found.better, "a peak of part of a trace is not smaller"


def test_rows_without_a_partner_are_told() -> None:
    found = compared(BASE, HEAD)
    assert (found.missing, found.extra) == ((BUMP,), (SLAB,))


def test_another_option_is_the_same_policy_if_there_is_one_of_it() -> None:
    found = compared([row("a", "best-fit", 1000)], [row("a", "best-fit:align=64", 1100)])
    assert not found.missing and found.changes[0].words == "1.10x larger"
    assert found.notes == ("best-fit:align=64 is compared with best-fit",)
    two = [row("a", "best-fit:align=64", 1100), row("a", "best-fit:align=128", 1100)]
    assert compared([row("a", "best-fit", 1000)], two).missing == (("a", "best-fit"),)
    files = compared([row("a", "./mine.py:k=1", 1)], [row("a", "./mine.py:k=2", 1)])
    assert files.notes and not files.missing


def test_another_trace_of_the_same_name_is_told() -> None:
    found = compared([row("a", "p", 1)], [row("a", "p", 1, trace_sha256="cd" * 32, capacity_bytes=1 << 30)])
    assert found.notes == (
        "a: the trace itself is another one (SHA-256 abababababab, now cdcdcdcdcdcd)",
        "a: the capacity was unlimited, now 1.0 GiB",
    )


def test_two_rows_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two rows are of trace a and policy p"):
        by_key([row("a", "p", 1), row("a", "p", 2)], "base")


def test_changes_are_those_that_a_plain_loop_finds() -> None:
    """Beside a loop over all pairs, on random rows."""
    from memtrace.measures import declared

    better = {metric.name: metric.direction for metric in declared() if metric.direction}
    draw = random.Random(3)
    base = [
        row(f"t{i}", "p", draw.randrange(5), moved_bytes=draw.randrange(3), search_mean=draw.choice([None, 1.5]))
        for i in range(60)
    ]
    head = [
        row(f"t{i}", "p", draw.randrange(5), moved_bytes=draw.randrange(3), search_mean=draw.choice([None, 2.5]))
        for i in range(60)
    ]
    expected = set()
    for old, new in zip(base, head, strict=True):
        for name, direction in better.items():
            a, b = old.get(name), new.get(name)
            if a is not None and b is not None and a != b:
                expected.add((old["trace"], name, b > a if direction == "lower" else b < a))
    found = compared(base, head).changes
    assert {(change.trace, change.measure, change.worse) for change in found} == expected and len(found) == len(expected)
    assert [change.worse for change in found] == sorted((change.worse for change in found), reverse=True)
