"""In which order the pytorch policy's streams take their turn: its tables against a hash table that is written as one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from oracle_streams import StreamTable
from pytorch_programs import first_difference, random_program, through_oracle, through_policy

from memtrace.engine.driver import initial_state
from memtrace.engine.registry import parse_policy
from memtrace.structures.caching.state import FIRST_STREAMS, more_streams
from memtrace.structures.caching.stream_tables import (
    EVENTS,
    USES,
    clear_table,
    insert_stream,
    remove_slot,
    table_end,
    table_start,
)
from memtrace.structures.caching.streams import stream_of


def state_with(streams: int) -> Any:
    policy = parse_policy("pytorch")
    state = more_streams(initial_state(policy, policy.module, None, 1), max(streams, FIRST_STREAMS))
    for stream in range(streams):
        assert stream_of(state, stream) == stream
    return state


def slots(state: Any, table: int) -> list[int]:
    """The slots of a table with streams, and who is in them."""
    return [int(slot) - 1 for slot in state.turns[table_start(state, table) : table_end(state, table)]]


def slots_of(table: StreamTable) -> list[int]:
    return [-1 if slot is None else slot.stream for slot in table.slots]


@pytest.mark.parametrize("streams", [3, 32, 200])
def test_streams_come_and_go_as_in_a_hash_table(streams: int) -> None:
    for seed in range(20):
        chance = random.Random(seed)
        state, table = state_with(streams), StreamTable()
        most = chance.randrange(1, streams + 1)
        for _ in range(300):
            if chance.random() < (0.9 if table.count < most else 0.1):
                stream = chance.randrange(streams)
                if stream not in table:
                    insert_stream(state, EVENTS, stream)
                    table.add(stream)
            elif table.count:
                at = chance.choice([i for i, slot in enumerate(table.slots) if slot is not None])
                remove_slot(state, at)
                table.remove(at)
            if table.buckets:
                assert slots(state, EVENTS) == slots_of(table)


def test_the_streams_of_a_block_leave_nothing_behind() -> None:
    state = state_with(64)
    for seed in range(50):
        table, chosen = StreamTable(), random.Random(seed).sample(range(64), 1 + seed)
        for stream in chosen:
            insert_stream(state, USES, stream)
            table.add(stream)
        assert slots(state, USES) == slots_of(table)
        clear_table(state, USES)
        assert not state.turns.any()


@pytest.mark.parametrize("seed", [60293, *range(30)])
def test_programs_with_many_streams(seed: int) -> None:
    program = random_program(seed, 500, 31)
    assert first_difference(through_policy(program), through_oracle(program)) is None
