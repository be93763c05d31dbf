"""Say an Answer in words: one screen of lines, and a table of settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from memtrace.formats.snapshot.diagnostics import PINNED, RECORD
from memtrace.formats.snapshot.records import HOST
from memtrace.gpu.answer import AS_RECORDED, PEAK_TRUST, TRUST, Answer
from memtrace.gpu.autopsy import UNTAGGED, Autopsy, Pin
from memtrace.gpu.capacity import FLUSH, FRACTION, GIVEN, OOM
from memtrace.gpu.rows import Row
from memtrace.structures.caching.versions import variable_of
from memtrace.units import format_apart, format_count, format_size
from memtrace.wrapping import folded

LABEL = 7  # columns of the words on the left
HOLDERS = 3  # kinds of live blocks, and segments, that are named
DEVICES = 3  # other devices that are named
MATTERS = 0.01  # share of the reserved bytes from which on what lies beside blocks in use is explained
SPARE = 0.02  # share of the capacity: with less to spare, a setting that fits is said to fit narrowly


def screen(answer: Answer, width: int = 80, verbose: bool = False) -> list[str]:
    """Return the lines of the answer, each at most ``width`` columns, except for a line that is to be pasted."""
    parts = [("ran", ran(answer)), ("trust", [trust(answer)]), ("why", why(answer)), ("do", do(answer))]
    found = []
    for label, sentences in parts:
        lines = [line for sentence in sentences for line in folded_sentence(sentence, width - LABEL)]
        found += [f"{label if i == 0 else '':{LABEL}}{line}" for i, line in enumerate(lines)]
    found += ["", *table(answer, width)]
    return found + [line for sentence in behind(answer, verbose) for line in folded(sentence, width)]


def folded_sentence(sentence: str, width: int) -> list[str]:
    """Return the lines of a sentence; a line to paste, which is marked by a leading tab, is not folded."""
    return [sentence[1:]] if sentence.startswith("\t") else folded(sentence, width)


def reserved_text(answer: Answer) -> Callable[[int | None], str]:
    """Return a function that writes reserved bytes and capacities with as many digits as tell those of an answer apart."""
    at, ran_ = answer.capacity, answer.as_recorded
    sizes = [at.bytes, at.below if at.source == FLUSH else None, at.device, ran_.peak_reserved if ran_ else None]
    if answer.fidelity is not None:
        sizes += [answer.fidelity.reserved_peak_replayed, answer.fidelity.reserved_peak_recorded]
    sizes += [size for row in answer.rows for size in (row.peak_reserved, row.smallest_capacity)]
    return format_apart(sizes)


def ran(answer: Answer) -> list[str]:
    """Return the sentences on what ran: version, settings, device, capacity, and how it ended."""
    trace = answer.trace
    if answer.versions is None:
        return [f"{trace.name}: {format_count(trace.facts.events)} events of a trace, which holds no recorded addresses"]
    settings = name_of(answer.recorded or "")
    if not answer.settings_known:
        settings = f"settings not in the file; its blocks show: {settings}"
    if answer.state is not None:
        count = format_count(trace.facts.allocs)
        return [
            f"PyTorch {answer.versions}, {settings}; no events, but the state at the dump: {count} blocks in use",
            *state(answer),
        ]
    if any(note.startswith("the settings were changed") for note in answer.notes):
        settings += " at last, changed in mid-run"
    before = ", from mid-run on" if int(trace.metadata.get("blocks_before", 0)) else ""
    first = f"PyTorch {answer.versions}, {settings}; {counted(trace.facts.events, 'event')}{before}"
    return [first, device(answer), *ended(answer)]


def state(answer: Answer) -> list[str]:
    """Return the sentences on the state at the dump, of a snapshot without events."""
    found = answer.state
    assert found is not None
    others = [one for one in answer.devices if one.number != answer.device]
    more = f"; not shown: device {', '.join(str(one.number) for one in others)}" if others else ""
    return [
        f"device {answer.device}: {format_size(found.reserved)} reserved, {format_size(found.active)} of it in use, "
        f"{format_size(found.cached)} free{more}"
    ]


def device(answer: Answer) -> str:
    """Return the sentence on the device, what it could give, and the other devices."""
    at, text_of = answer.capacity, reserved_text(answer)
    fits = f"{text_of(at.bytes)} for this process" if at.bytes is not None else "memory not known, as it never ran short"
    how = {GIVEN: "given", OOM: "what failed requests reported", FLUSH: "the cache was emptied there"}.get(at.source, "")
    if at.source == FLUSH and at.below is not None:
        how = f"its flushes show less than {text_of(at.below)}"
    if at.source == FRACTION and at.device:
        low, high = (at.least or 0) / at.device, (at.below or 0) / at.device
        how = f"the program set a fraction from {low:.3f} to below {high:.3f} of {text_of(at.device)}"
    others = [one for one in answer.devices if one.number not in (answer.device, HOST)]
    text = f"device {answer.device}: {fits}" + (f" ({how})" if how else "")
    if others:
        named = ", ".join(f"{one.number} ({counted(one.events, 'event')}, {said_ooms(one.ooms)})" for one in others[:DEVICES])
        text += f"; not shown: device {named}" + (", ..." if len(others) > DEVICES else "") + "; --device N shows it"
    if pinned := [one for one in answer.devices if one.number == HOST]:
        text += f"; pinned host memory: at most {format_size(pinned[0].peak)} (memtrace info --format torch-snapshot:{PINNED})"
    return text


def said_ooms(count: int) -> str:
    """Return how many requests failed, in words."""
    return "none failed" if not count else f"{format_count(count)} failed"


def ended(answer: Answer) -> list[str]:
    """Return the sentences on failures and flushes of the recorded run."""
    run = answer.ended
    if run is None:
        return []
    said = f"ran out of memory {times(run.ooms)}" + (" and went on" if run.survived else "") if run.ooms else "no request failed"
    if run.flushes:
        said += f"; emptied the cache {times(run.flushes)}"
        said += f", {format_size(run.given_back)} given back and fetched again" if run.given_back else " without getting any back"
    return [f"{said}; at most {reserved_text(answer)(answer.as_recorded.peak_reserved) if answer.as_recorded else '?'} reserved"]


def trust(answer: Answer) -> str:
    """Return the sentence that says whether a replay can be believed."""
    same = answer.fidelity
    if answer.state is not None:
        return "the state is what the file says; nothing of how it came about is known, so no line is given"
    if same is None:
        return "not checked: there are no recorded addresses to compare a replay with"
    if same.contradiction is not None:
        return f"no: the recording contradicts itself ({same.contradiction}), so it is damaged, and nothing is recommended"
    share = 100 * same.addresses_equal / same.addresses_total if same.addresses_total else 100.0
    equal = (
        f"{format_count(same.addresses_equal)} of {format_count(same.addresses_total)} addresses replayed equal ({share:.4g} %)"
    )
    text_of = reserved_text(answer)
    peak = text_of(same.reserved_peak_replayed)
    if same.reserved_peak_replayed == same.reserved_peak_recorded:
        peaks = f"the peak too, {peak}"
    else:
        peaks = f"peak {peak}, recorded {text_of(same.reserved_peak_recorded)}"
    if not answer.trusted:
        if no_segment_events(answer):
            equal += ", and no segment events are in the file, which skip_actions can leave out"
        if "garbage_collection_threshold" in (answer.recorded or ""):
            equal += ", as garbage was collected by a share of memory that is not recorded (--recorded, --recorded-capacity)"
        limits = f"at least {100 * TRUST:.0f} % and a peak within {100 * PEAK_TRUST:.0f} % are needed"
        return f"no: {equal}, {peaks}; {limits}, so nothing is recommended"
    more = f" by the rules of PyTorch {same.version}" if answer.versions and same.version != str(answer.versions.low) else ""
    return f"yes: {equal}{more}, {peaks}"


def no_segment_events(answer: Answer) -> bool:
    """Return whether the file has no event of memory that was taken, in a version that can leave such events out."""
    return answer.versions is not None and answer.versions.high >= (2, 12) and not answer.takes_memory


def why(answer: Answer) -> list[str]:
    """Return the sentences on why memory ran out, or nearly did."""
    found = []
    if answer.state is not None:
        return fate(answer.state)
    if answer.full is not None:
        full = answer.full
        both = " are live at once on ".join(map(format_apart((full.live, full.capacity)), (full.live, full.capacity)))
        found.append(f"really full: no setting helps; {both}: {format_size(full.lacking)} too much")
    elif nearly_full(answer):
        most, there = answer.trace.facts.peak_live_bytes, answer.capacity.bytes or 0
        found.append(
            f"nearly full: {' are live at once on '.join(map(format_apart((most, there)), (most, there)))}, which leaves "
            f"{format_size(there - most)}: a setting can only just help"
        )
    if answer.death is not None:
        found += death(answer.death, bool(answer.ended and answer.ended.ooms))
    elif answer.same is not None and answer.same.autopsy is not None:
        found.append(f"replayed with {reserved_text(answer)(answer.capacity.bytes or 0)}, {name_of(answer.same.conf)} fails:")
        found += death(answer.same.autopsy, True)
    elif answer.versions is not None and answer.trusted and answer.ended and not answer.ended.flushes and not answer.full:
        live = format_size(answer.trace.facts.peak_live_bytes)
        found.append(f"it never ran short: at most {live} were live at once")
    return found


def fate(found: Autopsy) -> list[str]:
    """Return the sentences on what free memory can go back to the device, and what keeps the rest."""
    said = [
        f"of the free {format_size(found.cached)}, {format_size(found.releasable)} can go back and {format_size(found.splits)} "
        f"lie beside blocks in use and cannot; the largest free block has {format_size(found.largest_free)}"
    ]
    if found.pins and found.splits >= MATTERS * found.reserved:
        said.append("kept: " + "; ".join(map(pin_text, found.pins[:HOLDERS])))
    return said


def death(found: Autopsy, failed: bool) -> list[str]:
    """Return the sentences on the state in which a request failed, or made the cache be emptied."""
    where = f" at {found.tag}" if found.tag else ""
    asked = f"event {format_count(found.event or 0)}{where} asked for {format_size(found.request or 0)}"
    asked += " and failed" if failed else " and had the cache emptied"
    said = [
        f"{asked}: {format_size(found.reserved)} reserved, {format_size(found.active)} of it in use and "
        f"{format_size(found.cached)} cached, the largest piece {format_size(found.largest_free)}"
    ]
    if found.largest_free >= (found.request or 0):
        said[0] += ", which is another stream's or pool's, or may not be split"
    if found.pins and found.splits >= MATTERS * found.reserved:
        pins = [pin for pin in found.pins if pin.free >= found.splits / 20][:HOLDERS] or found.pins[:1]
        said.append(f"{format_size(found.splits)} lie beside blocks in use and cannot go back: " + "; ".join(map(pin_text, pins)))
    return said


def pin_text(pin: Pin) -> str:
    """Return a segment that cannot go back, and what keeps it."""
    return f"{format_size(pin.free)} of {format_size(pin.extent)} kept by {holders_text(pin.holders, 1)}"


def named(tag: str) -> str:
    """Return the tag of live blocks, or words for blocks without one."""
    return "blocks without a call site" if tag == UNTAGGED else tag


def holders_text(holders: list[tuple[str, int, int]], most: int) -> str:
    """Return tag, number and bytes of the first kinds of live blocks."""
    parts = [f"{named(tag)} ({format_count(count)} x, {format_size(size)})" for tag, count, size in holders[:most]]
    return ", ".join(parts) + (", ..." if len(holders) > most else "")


def do(answer: Answer) -> list[str]:
    """Return the sentences on what to do: one line to paste, or what must shrink."""
    if answer.state is not None:
        return anew(answer)
    if answer.full is not None:
        return shrink(answer)
    if answer.trusted is False:
        return ["no line is given: the replay is not what ran"]
    best, same = answer.best, answer.same
    if best is None:
        least = min((row.smallest_capacity for row in answer.rows if row.smallest_capacity), default=None)
        need = f"; the least that any of them needs is {reserved_text(answer)(least)}" if least else ""
        return [f"no setting tried fits, though the live blocks would{need}"]
    if answer.line is None:
        name = variable_of(answer.version)
        keep = f"leave {name} unset" if not best.conf else f"keep {name}={best.conf}"
        return [f"nothing to change: no setting tried does better by 1 % than the one in force; {keep}"]
    said = [f"\t{answer.line}", helps(answer, best, same or answer.as_recorded)]
    if answer.tried is not None:
        said.append("; ".join([f"the best of {format_count(answer.tried)} settings tried", *answer.reasons]))
    return [*said, *holds(answer)] if nearly_full(answer) else said


def anew(answer: Answer) -> list[str]:
    """Return the sentences on what the blocks of a state need if laid out anew, and who holds them."""
    same = answer.same
    need = same.peak_reserved if same is not None and same.peak_reserved is not None else answer.trace.facts.peak_live_bytes
    return [
        *holds(answer),
        f"laid out anew these blocks would need {format_size(need)}",
        f"to know more, call {RECORD} before what you want to see, and dump before you stop the recording",
    ]


def helps(answer: Answer, best: Row, same: Row | None) -> str:
    """Return how much the best setting helps against the same replay of the recorded settings."""
    text_of, capacity = reserved_text(answer), answer.capacity.bytes
    if same is None or same.peak_reserved is None or best.peak_reserved is None:
        return f"reserves at most {text_of(best.peak_reserved or 0)}"
    parts = []
    if same.ooms != best.ooms:
        parts.append(f"{said_ooms(best.ooms or 0)}, not {format_count(same.ooms or 0)}")
    if same.flushes != best.flushes:
        parts.append(f"{counted(best.flushes or 0, 'flush')}, not {format_count(same.flushes or 0)}")
    less = 100 * (1 - best.peak_reserved / same.peak_reserved) if same.peak_reserved else 0.0
    peak = f"reserves at most {text_of(best.peak_reserved)}, not {text_of(same.peak_reserved)}"
    close = abs(less) < 0.5
    parts.append("about the same peak" if close else f"{peak} ({less:.0f} % less)" if less > 0 else peak)
    spare = capacity - best.smallest_capacity if capacity is not None and best.smallest_capacity is not None else None
    if spare is not None and capacity is not None and spare < SPARE * capacity and same.ooms:
        parts.append(f"but with only {format_size(max(spare, 0))} to spare")
    return "; ".join(parts)


def shrink(answer: Answer) -> list[str]:
    """Return the sentences on what must shrink if the live blocks alone are too much."""
    full = answer.full
    assert full is not None
    least = min((row.smallest_capacity for row in answer.rows if row.smallest_capacity), default=full.live)
    or_else = "a card"
    if answer.capacity.source == FRACTION:
        or_else = f"a larger fraction of the {reserved_text(answer)(answer.capacity.device or 0)} there, one"
    said = [f"need {format_size(full.lacking)} less, or {or_else} that leaves this process {reserved_text(answer)(least)}"]
    said += holds(answer)
    kinds = (("in place", full.reuse.in_place), ("recomputed", full.reuse.recompute), ("freed early", full.reuse.free_early))
    saved = [
        f"{format_size(full.live - kind.peak_live_bytes)} {name}" for name, kind in kinds if kind.peak_live_bytes < full.live
    ]
    if saved:
        said.append(f"need not be there at the peak, if not all at once: {', '.join(saved)} (memtrace reuse lists them)")
    return said


def holds(answer: Answer) -> list[str]:
    """Return the sentences on which live blocks hold the memory when it ran out."""
    found = answer.death or answer.state
    if found is None:
        return []
    large = Counter((tag, format_size(size)) for tag, size in found.largest)
    texts = [f"{size} {named(tag)}" if count == 1 else f"{count} x {size} {named(tag)}" for (tag, size), count in large.items()]
    return ["who holds it: " + holders_text(found.holders, HOLDERS), "largest: " + ", ".join(texts[:HOLDERS])]


def nearly_full(answer: Answer) -> bool:
    """Return whether requests failed, and the live blocks alone leave less than SPARE of the memory free."""
    capacity, live = answer.capacity.bytes, answer.trace.facts.peak_live_bytes
    failed = answer.ended is not None and answer.ended.ooms > 0
    return failed and capacity is not None and 0 <= capacity - live < SPARE * capacity


def table(answer: Answer, width: int) -> list[str]:
    """Return the lines of the table of settings, best first; those that do the same as another are named behind it."""
    return table_of(("setting", "reserved", "flushes", "failed", "fits in"), cells_of(answer), width)


def table_of(head: tuple[str, ...], cells: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Return the lines of a table; the first column is text, which goes on in further lines, the others are numbers."""
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(1, len(head))]
    room = max(width - sum(widths) - 2 * len(widths), 12)

    def line(cell: tuple[str, ...]) -> list[str]:
        """Return the lines of a row."""
        names = folded(cell[0], room) or [""]
        numbers = "".join(f"  {text:>{wide}}" for text, wide in zip(cell[1:], widths, strict=True))
        return [f"{names[0]:{room}}{numbers}".rstrip(), *names[1:]]

    return [*line(head), "─" * width, *(text for cell in cells for text in line(cell))]


def name_of(conf: str) -> str:
    """Return a setting as text, or "defaults"."""
    return conf or "defaults"


def cells_of(answer: Answer) -> list[tuple[str, str, str, str, str]]:
    """Return the cells of the table of settings, a row for each; those that do the same as an earlier one have none."""
    rows = [*([answer.as_recorded] if answer.as_recorded else []), *(row for row in answer.rows if row.same_as is None)]
    text_of = reserved_text(answer)
    found = []
    for row in rows:
        if row.status == "refused":
            found.append((name_of(row.conf), "refused", "", "", ""))
            continue
        failed = format_count(row.ooms or 0) if row.ooms else "none"
        reserved, fits = text_of(row.peak_reserved or 0), text_of(row.smallest_capacity)
        found.append((name_of(row.conf), reserved, format_count(row.flushes or 0), failed, fits))
    return found


def behind(answer: Answer, verbose: bool) -> list[str]:
    """Return the sentences behind the table: what does the same, where an empty heap differs, and remarks."""
    said = []
    if different := empty_heap(answer):
        said.append(different)
    equal: dict[str, list[str]] = {}
    for row in answer.rows:
        if row.same_as is not None:
            equal.setdefault(row.same_as, []).append(name_of(row.conf))
    said += same_as(equal)
    if answer.left_out:
        said.append(f"left out, as PyTorch {answer.version} refuses them: {', '.join(answer.left_out)}")
    same: dict[str, list[str]] = {}
    for row in answer.rows:
        for note in row.notes:
            same.setdefault(note, []).append(name_of(row.conf))
    remarks = [*answer.notes, *(f"{note}: {', '.join(confs)}" for note, confs in same.items())]
    if remarks and verbose:
        said += remarks
    elif remarks:
        said.append(f"{counted(len(remarks), 'remark')} on the recording and the settings: -v lists them")
    return said


def same_as(equal: dict[str, list[str]]) -> list[str]:
    """Return the sentences on settings that do the same as another; ``equal``: that one -> the names of the others."""
    return [f"the same as {name_of(first)}: {', '.join(others)}" for first, others in equal.items()]


def counted(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"1 {what}" if count == 1 else f"{format_count(count)} {what}{'es' if what.endswith('sh') else 's'}"


def times(count: int) -> str:
    """Return how often, in words."""
    return {0: "never", 1: "once"}.get(count, f"{format_count(count)} times")


def empty_heap(answer: Answer) -> str | None:
    """Return how the recorded settings differ from what ran if replayed from an empty heap; None if they hardly do."""
    ran_, same = answer.as_recorded, answer.same
    if ran_ is None or same is None or same.status == "refused" or answer.capacity.source == GIVEN:
        return None
    parts = []
    if abs((same.peak_reserved or 0) - (ran_.peak_reserved or 0)) > PEAK_TRUST * (ran_.peak_reserved or 0):
        more = (same.peak_reserved or 0) - (ran_.peak_reserved or 0)
        parts.append(f"reserves {format_size(abs(more))} {'more' if more > 0 else 'less'}")
    if same.flushes != ran_.flushes:
        parts.append(f"flushes {times(same.flushes or 0)}, not {times(ran_.flushes or 0)}")
    if same.ooms != ran_.ooms:
        parts.append(f"fails {times(same.ooms or 0)}, not {times(ran_.ooms or 0)}")
    if not parts:
        return None
    return (
        f"all rows but {AS_RECORDED!r} begin with an empty heap: from there {name_of(same.conf)} {', '.join(parts)}, "
        "so compare them with each other"
    )
