"""An Answer as plain data, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from memtrace.gpu.answer import Answer, Full
from memtrace.gpu.fidelity import Fidelity
from memtrace.gpu.rows import Row
from memtrace.structures.caching.versions import variable_of

SCHEMA = "memtrace.whatif/2"


def document(answer: Answer) -> dict[str, Any]:
    """Return the answer as a JSON document; sizes are in bytes."""
    trace = answer.trace
    return {
        "schema": SCHEMA,
        "trace": trace.name,
        "events": trace.facts.events,
        "lower_bound_bytes": trace.facts.peak_live_bytes,
        "pytorch": versions_document(answer),
        "device": answer.device,
        "devices": [asdict(one) for one in answer.devices],
        "recorded": {"conf": answer.recorded, "known": answer.settings_known} if answer.recorded is not None else None,
        "capacity": asdict(answer.capacity),
        "capacity_bytes": answer.capacity.bytes,
        "ended": asdict(answer.ended) if answer.ended is not None else None,
        "fidelity": fidelity_document(answer.fidelity),
        "trusted": answer.trusted,
        "autopsy": asdict(answer.death) if answer.death is not None else None,
        "state": asdict(answer.state) if answer.state is not None else None,
        "full": full_document(answer.full),
        "best": answer.best.conf if answer.best is not None else None,
        "line": answer.line,
        "variable": variable_of(answer.version),
        "as_recorded": row_document(answer.as_recorded) if answer.as_recorded is not None else None,
        "rows": [row_document(row) for row in answer.rows],
        "left_out": answer.left_out,
        "search": {"tried": answer.tried, "reasons": answer.reasons} if answer.tried is not None else None,
        "notes": answer.notes,
    }


def versions_document(answer: Answer) -> dict[str, Any]:
    """Return which versions can have written the file, and the one whose rules the rows have."""
    told = answer.versions
    return {
        "told": str(told) if told is not None else None,
        "low": str(told.low) if told is not None else None,
        "high": str(told.high) if told is not None else None,
        "rules": str(answer.version),
    }


def fidelity_document(same: Fidelity | None) -> dict[str, Any] | None:
    """Return how exactly the replay repeats the recording."""
    if same is None:
        return None
    said = {name: value for name, value in vars(same).items() if name not in ("capacity", "order")}
    said["capacity_bytes"] = same.capacity
    return said


def full_document(full: Full | None) -> dict[str, Any] | None:
    """Return that the live blocks alone are too much, and what need not be there."""
    if full is None:
        return None
    peaks = {
        "in_place": full.reuse.in_place.peak_live_bytes,
        "recompute": full.reuse.recompute.peak_live_bytes,
        "free_early": full.reuse.free_early.peak_live_bytes,
    }
    saved = {name: full.live - peak for name, peak in peaks.items()}
    return {"live_bytes": full.live, "capacity_bytes": full.capacity, "lacking_bytes": full.lacking, "reuse_saves_bytes": saved}


def row_document(row: Row) -> dict[str, Any]:
    """Return a row's entry."""
    return {
        "conf": row.conf,
        "status": row.status,
        "peak_reserved_bytes": row.peak_reserved,
        "flushes": row.flushes,
        "ooms": row.ooms,
        "segments": row.segments,
        "oom_event": row.oom_event,
        "oom_request_bytes": row.autopsy.request if row.autopsy else None,
        "oom_tag": row.oom_tag,
        "smallest_capacity_bytes": row.smallest_capacity,
        "same_as": row.same_as,
        "autopsy": asdict(row.autopsy) if row.autopsy else None,
        "warnings": row.notes,
    }
