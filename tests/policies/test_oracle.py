"""The oracle against addresses worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from oracle import Event, Outcome, simulate
from oracle_buddy import Buddy
from oracle_space import Options

LISTS = ("first-fit", "next-fit", "best-fit", "worst-fit")


def alloc(handle: int, size: int, align: int | None = None) -> Event:
    return Event("alloc", handle, size, align)


def free(handle: int) -> Event:
    return Event("free", handle)


def realloc(handle: int, size: int, align: int | None = None) -> Event:
    return Event("realloc", handle, size, align)


def run(policy: str, *events: Event, **options: Any) -> Outcome:
    return simulate(policy, events, **options)


def served(outcome: Outcome) -> list[int]:
    return [address for address in outcome.addresses if address is not None]


# Holes [0,64) [80,112) [128,224) [240,272) between blocks of 16.
COMB = (
    *(alloc(number, size) for number, size in enumerate((64, 16, 32, 16, 96, 16, 32, 16))),
    *(free(number) for number in (0, 2, 4, 6)),
)


@pytest.mark.parametrize(
    ("policy", "address", "search", "hole"),
    [("first-fit", 0, 1, 64), ("next-fit", 0, 1, 64), ("best-fit", 80, 4, 32), ("worst-fit", 128, 4, 96)],
)
def test_each_fit_chooses_its_hole(policy: str, address: int, search: int, hole: int) -> None:
    outcome = run(policy, *COMB, alloc(10, 20))
    assert outcome.addresses[-1] == address
    assert outcome.searches[-1] == search
    assert outcome.fits == [(hole, 32)]
    assert outcome.reserved[-1] == 288
    assert (outcome.live[-1], outcome.allocated[-1]) == (84, 96)
    assert (outcome.splits, outcome.merges) == (0 if policy == "best-fit" else 1, 0)


def test_next_fit_goes_on_from_the_last_block_and_wraps() -> None:
    outcome = run("next-fit", *COMB, *(alloc(10 + n, 32) for n in range(3)), free(10), alloc(20, 96), alloc(21, 32))
    assert served(outcome)[8:] == [0, 32, 80, 128, 240]
    wrapped = run("next-fit", *COMB, alloc(10, 96), alloc(11, 32), alloc(12, 64), alloc(13, 32))
    assert served(wrapped)[8:] == [128, 240, 0, 80]
    assert wrapped.searches[-4:] == [3, 1, 1, 1]


def test_next_fit_looks_first_at_the_hole_around_its_rover_and_growth_leaves_the_rover() -> None:
    outcome = run("next-fit", *COMB, alloc(10, 96), alloc(11, 500), free(10), free(3), alloc(12, 16))
    assert outcome.addresses[-4] == 288
    assert outcome.searches[-4] == 3
    assert outcome.holes[-2] == [(0, 64), (80, 224), (240, 272)]
    assert (outcome.addresses[-1], outcome.searches[-1]) == (80, 1)


def test_worst_fit_takes_the_lower_of_equal_holes() -> None:
    events = [*(alloc(number, 32) for number in range(4)), free(0), free(2), alloc(5, 16)]
    assert run("worst-fit", *events).addresses[-1] == 0


def test_a_failed_search_has_looked_at_all_holes() -> None:
    for policy in LISTS:
        outcome = run(policy, *COMB, alloc(10, 100), capacity=300)
        assert (outcome.status, outcome.oom_event, outcome.searches[-1]) == ("oom", 12, 4)
        assert outcome.reserved[-1] == 288


@pytest.mark.parametrize("policy", LISTS)
def test_the_gap_in_front_of_an_aligned_block_stays_a_hole(policy: str) -> None:
    outcome = run(policy, alloc(1, 16), alloc(2, 16, 64), alloc(3, 48))
    assert served(outcome) == [0, 64, 16]
    assert outcome.holes == [[], [(16, 64)], []]
    assert (outcome.splits, outcome.reserve_calls) == (1, 2)


@pytest.mark.parametrize("policy", LISTS)
def test_a_small_remainder_goes_to_the_block(policy: str) -> None:
    outcome = run(policy, alloc(1, 64), alloc(2, 32), free(1), alloc(3, 48), min_block=32)
    assert outcome.addresses[-1] == 0
    assert (outcome.live[-1], outcome.allocated[-1], outcome.holes[-1]) == (80, 96, [])
    assert outcome.fits == [(64, 48)]


@pytest.mark.parametrize("policy", [*LISTS, "bump"])
def test_growth_by_shortfall_is_cut_to_the_capacity(policy: str) -> None:
    outcome = run(policy, alloc(1, 48), alloc(2, 32), alloc(3, 32), capacity=100, chunk=64)
    assert served(outcome) == [0, 48]
    assert outcome.reserved == [64, 100, 100]
    assert outcome.holes == [[(48, 64)], [(80, 100)], [(80, 100)]]
    assert (outcome.oom_event, outcome.failed_allocs, outcome.reserve_calls) == (2, 1, 2)
    assert outcome.fits == []


@pytest.mark.parametrize("policy", [*LISTS, "bump"])
def test_full_growth_takes_a_whole_chunk_or_fails(policy: str) -> None:
    events = alloc(1, 48), alloc(2, 32)
    assert run(policy, *events, chunk=64, extend="full").reserved == [64, 128]
    assert run(policy, *events, capacity=127, chunk=64, extend="full").oom_event == 1


@pytest.mark.parametrize("policy", LISTS)
def test_skipped_blocks_are_counted_and_failed_reallocs_leave_the_old_block(policy: str) -> None:
    events = [alloc(1, 40), alloc(2, 32), Event("copy", 1, dst=2), realloc(2, 8), Event("access", 2), free(2)]
    events += [alloc(2, 16), realloc(1, 64), Event("swap", 1, dst=2), free(1)]
    outcome = run(policy, *events, capacity=64, on_oom="skip")
    assert served(outcome) == [0, 48]
    assert outcome.live == [40, 40, 40, 40, 40, 40, 56, 56, 56, 16]
    assert (outcome.failed_allocs, outcome.skipped_events, outcome.status) == (3, 4, "ok")
    assert outcome.moved_bytes == 0
    assert outcome.oom_event is None


@pytest.mark.parametrize("policy", LISTS)
def test_realloc_in_place_uses_the_next_hole_then_the_top_then_moves(policy: str) -> None:
    sizes = [(1, 32), (1, 40), (1, 64), (2, 100), (1, 80)]
    outcome = run(policy, alloc(1, 64), alloc(2, 16), *(realloc(*pair) for pair in sizes))
    assert outcome.addresses == [0, 64, 0, 0, 0, 64, 176]
    assert outcome.holes[2:] == [[(32, 64)], [(48, 64)], [], [], [(0, 64)]]
    assert outcome.reserved == [64, 80, 80, 80, 80, 176, 256]
    assert outcome.searches == [0, 0, None, None, None, None, 0]
    assert outcome.moved_bytes == 64


def test_realloc_moves_for_an_alignment_or_when_told_to() -> None:
    outcome = run("first-fit", alloc(1, 16), alloc(2, 32), realloc(2, 16, 64))
    assert (outcome.addresses[-1], outcome.holes[-1], outcome.moved_bytes) == (64, [(16, 64)], 16)
    outcome = run("first-fit", alloc(1, 48), realloc(1, 20), realloc="move")
    assert (outcome.addresses, outcome.moved_bytes) == ([0, 48], 20)
    assert outcome.holes[-1] == [(0, 48)]


def test_a_request_of_nothing() -> None:
    events = alloc(1, 0), realloc(1, 8), realloc(1, 0), alloc(1, 0), free(1), Event("free")
    block = run("first-fit", *events)
    assert block.addresses == [0, 0, None, 0, None, None]
    assert block.allocated == [16, 16, 0, 16, 0, 0]
    null = run("first-fit", *events, zero="null")
    assert null.addresses == [None, 0, None, None, None, None]
    assert null.allocated == [0, 16, 0, 0, 0, 0]
    assert null.searches == [None, 0, None, None, None, None]
    assert (null.failed_allocs, null.moved_bytes) == (0, 0)


def test_trim_falls_to_a_whole_chunk() -> None:
    events = alloc(1, 16), alloc(2, 100), free(2), free(1)
    outcome = run("first-fit", *events, chunk=64, trim=True)
    assert outcome.reserved == [64, 128, 64, 0]
    assert outcome.holes == [[(16, 64)], [], [(16, 64)], []]
    assert outcome.release_calls == 2


def test_the_trim_event_stops_at_the_initial_heap() -> None:
    outcome = run("first-fit", alloc(1, 200), free(1), Event("trim"), Event("trim"), base=16, initial=100)
    assert outcome.addresses[0] == 16
    assert outcome.reserved == [224, 224, 116, 116]
    assert outcome.holes[-1] == [(16, 116)]
    assert outcome.release_calls == 1


def test_only_the_growth_of_a_swap_lasts() -> None:
    events = (
        alloc(1, 64),
        alloc(2, 30),
        Event("swap", 1, dst=2),
        Event("swap", 1, size=5, dst=2),
        Event("copy", 1, dst=2),
    )
    outcome = run("first-fit", *events)
    assert outcome.reserved == [64, 96, 128, 128, 128]
    assert outcome.searches == [0, 0, 0, 1, None]
    assert outcome.holes[-1] == [(96, 128)]
    assert outcome.moved_bytes == 30 + 5 + 30
    assert run("first-fit", *events, swap="inplace").reserved[-1] == 96


def test_bump_never_looks_back() -> None:
    events = alloc(1, 16), alloc(2, 16), free(1), alloc(3, 16), realloc(3, 32), realloc(2, 32), realloc(2, 16)
    outcome = run("bump", *events, realloc(2, 32))
    assert outcome.addresses == [0, 16, None, 32, 32, 64, 64, 96]
    assert outcome.holes[2:] == [[(0, 16)]] * 3 + [[(0, 32)], [(0, 32), (80, 96)], [(0, 32), (64, 96)]]
    assert (outcome.reserved[-1], outcome.moved_bytes) == (128, 16 + 16)
    assert outcome.searches == [0, 0, None, 0, None, 0, None, 0]


def test_bump_uses_the_initial_heap_and_gives_a_small_rest_to_the_block() -> None:
    outcome = run("bump", alloc(1, 16), alloc(2, 16), alloc(3, 16), initial=40)
    assert served(outcome) == [0, 16, 48]
    assert outcome.blocks[-1] == [(0, 16), (16, 40), (48, 64)]
    assert outcome.holes == [[(16, 40)], [], [(40, 48)]]


def test_buddy_takes_the_smallest_free_block_and_its_low_half() -> None:
    events = alloc(1, 100), alloc(2, 30), free(1), alloc(3, 16), alloc(4, 64), alloc(5, 128)
    outcome = run("buddy", *events, capacity=256)
    assert served(outcome) == [0, 128, 160, 192, 0]
    assert outcome.reserved == [128, 160, 160, 176, 256, 256]
    assert outcome.holes == [[], [], [(0, 128)], [(0, 128)], [(0, 128), (176, 192)], [(176, 192)]]
    assert outcome.searches == [0, 0, None, 0, 0, 1]
    assert outcome.fits == [(128, 128)]
    assert (outcome.splits, outcome.merges) == (4, 0)


def test_buddy_never_joins_beyond_its_pieces() -> None:
    assert Buddy(Options(base=16), 100).pieces == [(16, 16), (32, 32), (64, 32)]
    assert Buddy(Options(), 2**62).pieces == [(0, 2**62)]
    events = alloc(1, 64), alloc(2, 32), free(1), free(2), alloc(3, 65)
    outcome = run("buddy", *events, capacity=100)
    assert outcome.holes[-1] == [(0, 64), (64, 96)]
    assert (outcome.oom_event, outcome.splits, outcome.merges) == (4, 0, 0)


def test_buddy_realloc_joins_and_halves_in_place_and_trim_clips() -> None:
    outcome = run("buddy", alloc(1, 32), realloc(1, 100), realloc(1, 10), Event("trim"), free(1))
    assert outcome.addresses == [0, 0, 0, None, None]
    assert outcome.reserved == [32, 128, 128, 16, 16]
    assert outcome.holes == [[], [], [(16, 32), (32, 64), (64, 128)], [], [(0, 16)]]
    assert (outcome.splits, outcome.merges, outcome.moved_bytes) == (57 + 3, 2 + 58, 0)


def test_buddy_realloc_moves_from_the_high_half() -> None:
    outcome = run("buddy", alloc(1, 16), alloc(2, 16), realloc(2, 20), capacity=64)
    assert outcome.addresses == [0, 16, 32]
    assert outcome.moved_bytes == 16


def test_buddy_realloc_does_not_join_a_neighbour_of_another_pair() -> None:
    outcome = run("buddy", *(alloc(number, 16) for number in range(4)), free(2), realloc(1, 20), capacity=128)
    assert outcome.addresses[-1] == 64
    assert outcome.holes[-1] == [(16, 32), (32, 48)]


def test_buddy_growth_of_the_reserved_range() -> None:
    events = alloc(1, 16), alloc(2, 16), alloc(3, 16), alloc(4, 64)
    chunked = run("buddy", *events, chunk=40, initial=8, capacity=128)
    assert chunked.reserved == [48, 48, 48, 128]
    assert chunked.holes == [[(16, 32), (32, 48)], [(32, 48)], [], [(48, 64)]]
    assert chunked.searches == [0, 1, 0, 0]
    full = run("buddy", *events, chunk=40, extend="full", capacity=128)
    assert (full.reserved, full.oom_event) == ([40, 40, 80, 80], 3)  # 64 more would end at 144
    pieces = run("buddy", *events, capacity=120)  # 64 at 0, 32 at 64, 16 at 96
    assert served(pieces) == [96, 64, 80, 0]


def test_buddy_blocks_are_large_enough_for_the_alignment() -> None:
    outcome = run("buddy", alloc(1, 20, 256), alloc(2, 20), header=16, min_block=50)
    assert outcome.blocks[-1] == [(0, 256), (256, 320)]


def test_events_that_cannot_be_are_refused() -> None:
    for events in ([free(1)], [alloc(1, 8), alloc(1, 8)], [alloc(1, 8), Event("swap", 2, dst=1)]):
        with pytest.raises(ValueError, match="not well-formed"):
            run("first-fit", *events)
