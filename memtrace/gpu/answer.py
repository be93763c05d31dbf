"""Answer what a recorded GPU program should change: what ran, whether a replay of it can be believed, why memory ran out, which
settings would do better, and if none does, who holds the memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from memtrace.errors import InputError, UsageError
from memtrace.formats.snapshot.diagnostics import PINNED, SHARE, conf_of, released, released_by
from memtrace.formats.snapshot.events import TAKEN
from memtrace.formats.snapshot.records import HOST, Action
from memtrace.formats.snapshot.schema import Versions, narrowed
from memtrace.gpu.autopsy import Autopsy, autopsy_of
from memtrace.gpu.capacity import GIVEN, UNKNOWN, Capacity, flush_starts, flushes, recorded_capacity, recorded_peak
from memtrace.gpu.fidelity import Fidelity, Rerun, fidelity, replayed
from memtrace.gpu.private_pools import MakeHooks, hooks_of
from memtrace.gpu.recorded import Recorded, read_recorded
from memtrace.gpu.rows import Row, ranked, rows_of
from memtrace.gpu.settings import DEFAULTS, GRID, grid, options_of
from memtrace.gpu.state import state_of
from memtrace.structures.caching.versions import LATEST, Version, variable_of

if TYPE_CHECKING:
    from memtrace.gpu.search import Found
    from memtrace.questions.reuse import Plan
    from memtrace.trace import Trace

TRUST = 0.95  # least share of equal addresses at which a replay is believed ...
PEAK_TRUST = 0.01  # ... and most by which its peak may differ
AS_RECORDED = "as recorded"


@dataclass(frozen=True)
class Ended:
    """Say how the recorded program fared. Sizes are in bytes."""

    ooms: int  # requests that failed
    survived: bool  # whether it went on requesting after the last of them
    flushes: int  # requests for which the cache was emptied
    given_back: int  # bytes given back for them, and fetched again


@dataclass(frozen=True)
class Full:
    """Say that the live blocks alone are more than the device has, so that no placement fits. Sizes are in bytes."""

    live: int  # live at once, with the request that failed
    capacity: int
    reuse: Plan  # what need not be there at the peak

    @property
    def lacking(self) -> int:
        """Return how many bytes the program needs less, or the device more."""
        return self.live - self.capacity


@dataclass(frozen=True)
class Device:
    """Say what a snapshot holds of one device."""

    number: int  # HOST: pinned memory of the host
    events: int
    ooms: int
    reserved: int  # bytes at the end
    peak: int  # bytes reserved at most


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Hold all that `memtrace whatif` says. For a trace that is no snapshot, all that only a recording says is None."""

    trace: Trace
    capacity: Capacity
    version: Version  # whose rules the rows have
    rows: list[Row]  # best first
    best: Row | None  # None: nothing fits, or nothing can be trusted
    versions: Versions | None = None  # that can have written the file
    device: int | None = None
    devices: list[Device] = field(default_factory=list)
    recorded: str | None = None  # the settings in force
    takes_memory: bool = True  # whether events say that memory was taken from the device
    settings_known: bool = True  # whether the file or the user says them; else they are inferred from blocks
    fidelity: Fidelity | None = None
    trusted: bool | None = None
    ended: Ended | None = None
    as_recorded: Row | None = None
    state: Autopsy | None = None  # at the dump, of a snapshot without events
    death: Autopsy | None = None  # the state when a request failed, or made the cache be emptied
    full: Full | None = None
    notes: list[str] = field(default_factory=list)  # remarks on the recording, in sentences
    left_out: list[str] = field(default_factory=list)  # settings that this version refuses
    tried: int | None = None  # settings that a search tried
    reasons: list[str] = field(default_factory=list)  # of a search: in what ranges the best setting does the same, in sentences

    @property
    def same(self) -> Row | None:
        """Return the row of the recorded settings, replayed as all other rows are."""
        return next((row for row in self.rows if row.conf == (self.recorded or DEFAULTS)), None)

    def __str__(self) -> str:
        """Return the screen of `memtrace whatif`, 80 columns wide."""
        from memtrace.gpu.screen import screen

        return "\n".join(screen(self))

    def document(self) -> dict[str, Any]:
        """Return the answer as plain data, as `memtrace whatif --json` prints it."""
        from memtrace.gpu.document import document

        return document(self)

    @property
    def line(self) -> str | None:
        """Return the line to paste; None if nothing is to be changed, or nothing can be said."""
        if self.best is None or self.best.conf == (self.recorded or DEFAULTS):
            return None
        name = variable_of(self.version)
        return f"{name}={self.best.conf}" if self.best.conf else f"unset {name}"


@dataclass(frozen=True, kw_only=True)
class Question:
    """Hold what the user asks, beside the file."""

    confs: tuple[str, ...] = ()  # settings to try; none: a fixed list
    capacity: int | None = None  # bytes; None: what the recording proves
    device: str = ""  # its number; empty: the one that ran out of memory, else the one with most events
    recorded: str | None = None  # the settings in force, where the file does not say them
    recorded_capacity: int | None = None  # bytes that the recorded program could have
    version: str | None = None  # of PyTorch, where the file does not say it
    invalid: str = "error"
    search: int | None = None  # search for the best setting within so many replays
    kept: str | None = None  # a file of the search's results, from which it goes on


def whatif(path: str | os.PathLike[str], **asked: Any) -> Answer:
    """Return the Answer for a snapshot, or for any other trace; ``asked`` are the fields of Question."""
    return answer(path, Question(**asked))


def answer(path: str | os.PathLike[str], asked: Question) -> Answer:
    """Return the Answer for a snapshot, or for any other trace that `memtrace.read` reads."""
    from memtrace.formats import find
    from memtrace.reading import read
    from memtrace.trace.sources import open_source

    if os.path.lexists(path) or os.fspath(path) == "-" or "://" in os.fspath(path):
        with open_source(path) as source:
            is_snapshot = find(source).NAME == "torch-snapshot"
        if is_snapshot:
            recorded = read_recorded(path, asked.device, asked.recorded)
            if recorded.recording.device == HOST:
                raise UsageError(
                    "pinned memory is not placed by the CUDA allocator, so it has no settings to try\n"
                    f"try: memtrace run {path} --format torch-snapshot:{PINNED}"
                )
            return of_state(recorded, asked) if recorded.state_only else of_recording(recorded, asked)
    return of_trace(read(path, invalid=asked.invalid), asked)


def of_trace(trace: Trace, asked: Question) -> Answer:
    """Return the Answer for a trace without recorded addresses, whose settings are compared from an empty heap."""
    version = version_named(asked.version) or LATEST
    capacity = Capacity(asked.capacity, GIVEN if asked.capacity is not None else UNKNOWN)
    confs = list(dict.fromkeys(asked.confs)) or grid(asked.recorded, version)
    found = searched(trace, asked, asked.recorded or DEFAULTS, capacity.bytes, version)
    rows = found.rows if found else ranked(rows_of(trace, confs, asked.capacity, version), asked.recorded or DEFAULTS)
    return Answer(
        trace=trace,
        capacity=capacity,
        version=version,
        tried=found.tried if found else None,
        reasons=found.reasons if found else [],
        rows=rows,
        best=best_of(rows),
        recorded=asked.recorded,
        full=full_of(trace, asked.capacity),
    )


def of_state(recorded: Recorded, asked: Question) -> Answer:
    """Return the Answer for a snapshot without events: the state at the dump, and what its blocks need if laid out anew."""
    snapshot, recording, trace = recorded.snapshot, recorded.recording, recorded.trace
    conf = conf_of(snapshot.settings, recording) if asked.recorded is None else asked.recorded
    versions = narrowed(snapshot.versions, options_of(conf), named_version(asked.version))
    capacity = Capacity(asked.capacity, GIVEN if asked.capacity is not None else UNKNOWN)
    confs = list(dict.fromkeys(asked.confs)) or grid(without_share(conf), versions.low)
    return Answer(
        trace=trace,
        capacity=capacity,
        version=versions.low,
        rows=ranked(rows_of(trace, confs, asked.capacity, versions.low), without_share(conf)),
        best=None,
        versions=versions,
        device=recording.device,
        devices=devices_of(recorded),
        recorded=without_share(conf),
        settings_known=bool(snapshot.settings) or asked.recorded is not None,
        state=state_of(recording, snapshot.sites),
        notes=trace.metadata["assumed"].splitlines(),
    )


def of_recording(recorded: Recorded, asked: Question) -> Answer:
    """Return the Answer for one device of a snapshot."""
    snapshot, recording, trace = recorded.snapshot, recorded.recording, recorded.trace
    conf = conf_of(snapshot.settings, recording) if asked.recorded is None else asked.recorded
    options = options_of(conf)
    versions = narrowed(snapshot.versions, options, named_version(asked.version))
    rules = released(snapshot.settings) if asked.recorded is None else released_by(options)
    proven = recorded_capacity(recording, rules, SHARE in options)
    at_recording = asked.recorded_capacity if asked.recorded_capacity is not None else proven.bytes
    replayed_conf = conf if at_recording is not None else without_share(conf)
    try:
        same = fidelity(recorded, replayed_conf, at_recording, versions.low)
    except UsageError as error:
        if asked.recorded is not None:
            raise
        wrong = f"{trace.name}: it says that it was recorded with settings that PyTorch does not take: {error}"
        raise InputError(f"{wrong}\ntry: --recorded SETTINGS, if you know them") from error
    rerun = Rerun(recorded, replayed_conf, at_recording, Version(*map(int, same.version.split("."))))
    trusted = is_trusted(same)
    known = at_recording if asked.recorded_capacity is not None else asked.capacity
    capacity = Capacity(known, GIVEN) if known is not None else proven
    if asked.capacity is not None:
        capacity = Capacity(asked.capacity, GIVEN)
    confs = list(dict.fromkeys(asked.confs)) or with_share(grid(conf, versions.low), options)
    if capacity.bytes is None:
        confs = list(dict.fromkeys(map(without_share, confs)))
    hooks = hooks_of(recorded)
    base = conf if capacity.bytes is not None else without_share(conf)
    found = searched(trace, asked, base, capacity.bytes, versions.low, hooks)
    rows = found.rows if found else ranked(rows_of(trace, confs, capacity.bytes, versions.low, hooks), conf)
    full = full_of(trace, capacity.bytes)
    return Answer(
        trace=trace,
        capacity=capacity,
        version=versions.low,
        rows=rows,
        best=best_of(rows) if trusted else None,
        versions=versions,
        device=recording.device,
        devices=devices_of(recorded),
        recorded=conf,
        settings_known=bool(snapshot.settings) or asked.recorded is not None,
        tried=found.tried if found else None,
        reasons=found.reasons if found else [],
        takes_memory=bool(np.isin(recording.events.action, TAKEN).any()),
        fidelity=same,
        trusted=trusted,
        ended=ended_of(recorded, rules),
        as_recorded=as_recorded(recorded, rules),
        death=death_of(rerun, same, rules) if trusted else None,
        full=full,
        notes=trace.metadata["assumed"].splitlines(),
        left_out=[one for one in GRID if not asked.confs and one not in grid(conf, versions.low)],
    )


def searched(
    trace: Trace, asked: Question, recorded: str, capacity: int | None, version: Version, hooks: MakeHooks | None = None
) -> Found | None:
    """Return what a search found, if the user asked for one; ``hooks``: see `rows_of`."""
    from memtrace.gpu.search import search

    return search(trace, recorded, capacity, version, asked.search, asked.kept, hooks) if asked.search is not None else None


def named_version(text: str | None) -> str | None:
    """Return the text of a version that the user gave; UsageError if it is none."""
    version_named(text)
    return text


def version_named(text: str | None) -> Version | None:
    """Return the version that a text names, None for None; UsageError for any other text."""
    from memtrace.structures.caching.versions import parse_version

    if text is None:
        return None
    try:
        return parse_version(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def without_share(conf: str) -> str:
    """Return a setting without per_process_memory_fraction, which means nothing where the device's memory is not known."""
    return ",".join(f"{key}:{value}" for key, value in options_of(conf).items() if key != SHARE)


def with_share(confs: list[str], options: dict[str, str]) -> list[str]:
    """Return settings that keep the fraction of the device that the recorded ``options`` gave to the program."""
    if SHARE not in options:
        return confs
    return list(dict.fromkeys(c if SHARE in c else ",".join(filter(None, [c, f"{SHARE}:{options[SHARE]}"])) for c in confs))


def is_trusted(same: Fidelity) -> bool:
    """Return whether a replay of the recorded settings is near enough to the recording that other replays can be believed."""
    share = same.addresses_equal / same.addresses_total if same.addresses_total else 1.0
    off = abs(same.reserved_peak_replayed - same.reserved_peak_recorded)
    return share >= TRUST and off <= PEAK_TRUST * same.reserved_peak_recorded


def best_of(rows: list[Row]) -> Row | None:
    """Return the best of ranked rows; None if in all of them a request fails."""
    return rows[0] if rows and rows[0].status == "ok" else None


def devices_of(recorded: Recorded) -> list[Device]:
    """Return what the snapshot holds of each device."""
    return [
        Device(
            number,
            int(one.events.action.size),
            int(np.count_nonzero(one.events.action == Action.OOM)),
            int(one.segments.size.sum()),
            recorded_peak(one),
        )
        for number, one in recorded.snapshot.recordings.items()
    ]


def ended_of(recorded: Recorded, rules: Any) -> Ended:
    """Return how the recorded program fared; ``rules``: by which segments were given back."""
    action = recorded.recording.events.action
    failed = np.flatnonzero(action == Action.OOM)
    went_on = bool(failed.size and (action[failed[-1] :] == Action.ALLOC).any())
    counted = flushes(recorded.recording, rules)
    return Ended(int(failed.size), went_on, counted.count, counted.given_back)


def as_recorded(recorded: Recorded, rules: Any) -> Row:
    """Return the row of what ran: no replay, but what the recording says."""
    action = recorded.recording.events.action
    failed = np.flatnonzero(action == Action.OOM)
    return Row(
        AS_RECORDED,
        "oom" if failed.size else "ok",
        recorded_peak(recorded.recording),
        flushes(recorded.recording, rules).count,
        int(failed.size),
        oom_event=int(np.flatnonzero(recorded.rows.event == failed[0])[0]) if failed.size else None,
    )


def death_of(rerun: Rerun, same: Fidelity, rules: Any) -> Autopsy | None:
    """Return the state when the last request failed, or else right before the last one that emptied the cache; None if none did.

    The state is that of a replay of the recorded settings from the recorded layout; ``same`` is its fidelity.
    """
    rows, action = rerun.recorded.rows, rerun.recorded.recording.events.action
    asked = np.flatnonzero(rows.op == 0)
    failed = np.flatnonzero(action == Action.OOM)
    if failed.size:
        asks = int(asked[np.searchsorted(rows.event[asked], failed[-1])])
        row = asks
    else:
        starts = flush_starts(rerun.recorded.recording, rules)
        after = asked[np.searchsorted(rows.event[asked], starts[-1:])] if starts.size and not rules.collects else starts[:0]
        if not after.size or after[0] <= rerun.recorded.lives.before.size:
            return None
        asks, row = int(after[0]), int(after[0]) - 1
    found: list[Autopsy] = []

    def look(state: Any) -> None:
        """Make the autopsy of a state of the replay."""
        found.append(autopsy_of(state, rerun.recorded.trace, asks, rerun.capacity))

    replayed(rerun, list(same.order) if same.order is not None else None, (row, look))
    return found[0] if found else None


def full_of(trace: Trace, capacity: int | None) -> Full | None:
    """Return what to say if the live bytes alone are more than the capacity; None if they are not."""
    from memtrace.questions.reuse import plan

    live = trace.facts.peak_live_bytes
    return Full(live, capacity, plan(trace)) if capacity is not None and live > capacity else None
