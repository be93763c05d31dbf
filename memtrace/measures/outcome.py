"""Measures of how a replay ended: its status, failed requests, and events that were skipped."""

from memtrace.engine import recorder as rec
from memtrace.measures.declaration import Readings, metric

ORDER = 6


@metric("word", "", "ok, or oom: a request failed and the replay stopped there")
def status(r: Readings) -> str:
    return r.placement.status


@metric("event", "", "the event at which a request failed and the replay stopped; empty if it did not stop")
def oom_event(r: Readings) -> int | None:
    return r.placement.oom_event


@metric("count", "lower", "requests that failed")
def failed_allocs(r: Readings) -> int:
    return r.total(rec.FAILED)


@metric("count", "lower", "events of blocks whose request had failed")
def skipped_events(r: Readings) -> int:
    return r.total(rec.SKIPPED)


@metric("count", "lower", "rows of the trace that were invalid and skipped")
def invalid_events(r: Readings) -> int:
    return r.facts.invalid_events


@metric("count", "", "blocks of the trace that are live at its end")
def never_freed(r: Readings) -> int:
    return r.facts.never_freed
