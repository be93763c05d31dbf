"""The command `memtrace bound`, which finds how much memory a trace needs at least, by packing its blocks offline."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.reading import read_trace, say_assumed
from memtrace.cli.terminal import echo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memtrace.packing.buffers import Buffers
    from memtrace.packing.given import Judgement
    from memtrace.packing.packing import Packing
    from memtrace.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Within:
    """A packing that is looked for within a capacity."""

    capacity: int  # bytes; 0: none is asked for
    effort: int  # steps of the search, in multiples of PLACEMENTS_OF_ONE
    solver_seconds: float  # for the solver; 0: it is not called
    align: int  # bytes, of addresses


OWN = "the file's own packing"
MOST_SHOWN = 5  # overlaps of the file's own packing that are named
ONLINE = ("first-fit", "best-fit")  # policies that place the blocks where there are too many for packing, as for `optimum`


@click.command()
@click.argument("trace")
@option("format")
@click.option(
    "--align", default="16", show_default=True, metavar="SIZE", help="Alignment of addresses; sizes are rounded up to it."
)
@click.option(
    "--effort",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    help="Number of steps of annealing or search; annealing takes about half a second at an effort of 1.",
)
@option("capacity", help="Only look for a packing within this capacity, or for a proof that there is none.")
@click.option(
    "--solver",
    "solver_seconds",
    type=click.FloatRange(0),
    default=0,
    metavar="SECONDS",
    help="Let OR-tools' CP-SAT look for a better packing, or prove that there is none. Needs the extra `offline`.",
)
@click.option(
    "--planner",
    "planners",
    multiple=True,
    type=click.Choice(["executorch-greedy", "tflite-greedy"]),
    help="Also say what the planner of an inference runtime needs, with its own alignment. Repeatable.",
)
@option("output", help="Write the best packing as CSV: id, lower, upper, size, offset.")
@report_options
def bound(
    trace: str,
    trace_format: str | None,
    align: str,
    effort: int,
    capacity: int | None,
    solver_seconds: float,
    planners: tuple[str, ...],
    output: str | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Pack the blocks of TRACE with all lifetimes known in advance; no online policy can beat the result by much.

    The peak of live bytes is a lower bound. The validator checks each packing. Policy `optimum` follows the best
    packing. The placements of first and best fit are compared too if no packing is at the bound; they are alone where too
    many blocks live at once to be packed.

    A file that says where its blocks lie, as a column `offset` or the plan of a compiler does, has its own packing
    judged beside ours: the exit code is 1 if two blocks that live at once overlap in it.

    With --capacity, a depth-first search looks for a packing within that capacity, in 5 million steps times the effort.
    The exit code is 1 if it finds none. With --solver as well, CP-SAT goes on where the search gives up. Of more than
    1,500 blocks, the packings made without --capacity answer.

    \b
    Example:
      memtrace bound traces/gpt-6x512-fp32.csv
      memtrace bound traces/gpt-6x512-fp32.csv --capacity 1GiB
    """
    from memtrace.cli.output import echo_json, print_table
    from memtrace.errors import UsageError
    from memtrace.packing.buffers import buffers_of
    from memtrace.packing.given import judge
    from memtrace.units import format_size, parse_size

    unit = parse_size(align)
    if unit < 1 or unit & (unit - 1):
        raise UsageError(f"--align {align} is not a power of two")
    found_trace = read_trace(trace, trace_format=trace_format, bars=not quiet, keep_plan=True)
    say_assumed(found_trace.metadata, quiet or as_json)
    buffers = buffers_of(found_trace, unit)
    if capacity is not None and planners:
        raise UsageError("--planner says what a planner needs, and not whether that is within --capacity\ntry: one of the two")
    within = Within(capacity=capacity or 0, effort=effort, solver_seconds=solver_seconds, align=unit)
    if capacity is not None:
        fits(found_trace, buffers, within, output, as_json)
        return
    if not len(buffers):
        raise UsageError(f"{found_trace.name} asks for no block: there is nothing to pack")
    found = known_packings(found_trace, buffers, within, output is not None)
    if all(packing.method in ONLINE for packing in found) and not (quiet or as_json):
        echo("note: too many blocks live at once to be packed; these are the placements of policies", err=True)
    lowest = min(found, key=lambda packing: packing.height)
    least = buffers.bound if output is not None else buffers.bound_in_place
    if output is not None:
        write(Path(output), buffers, lowest)
    planned = [planned_by(found_trace, planner) for planner in planners]
    own = judge(found_trace)
    if as_json:
        rows = [{"method": p.method, "height_bytes": p.height, "seconds": p.seconds, "proven": p.proven} for p in found]
        document = {
            "schema": "memtrace.bound/1",
            "trace": found_trace.name,
            "peak_live_bytes": found_trace.facts.peak_live_bytes,
            "lower_bound_bytes": least,
            "packings": rows,
        }
        if planned:
            document["planners"] = [{"planner": p.method, "height_bytes": p.height, "seconds": p.seconds} for p, _ in planned]
        if own is not None:
            document["own"] = own_document(found_trace, own)
        echo_json(document)
        leave(own)
        return
    lines = [("peak live, aligned", format_size(least), "1.000x", "")]
    rated: list[tuple[Packing, int]] = [*((p, least) for p in found), *planned]
    lines += [(p.method, format_size(p.height), f"{p.height / bound:.3f}x", f"{p.seconds:.1f} s") for p, bound in rated]
    if own is not None:
        lines.append((OWN, format_size(own.height), f"{own.height / max(own.bound, 1):.3f}x", ""))
    print_table(("method", "height", "x bound", "time"), lines, title=f"{found_trace.name}: {len(buffers):,} blocks to pack")
    echo(gap_sentence(least, lowest))
    if own is not None:
        say_own(found_trace, own)
    leave(own)


def leave(own: Judgement | None) -> None:
    """Exit with code 1 if the file has a packing of its own that is not sound."""
    from memtrace.errors import MemtraceError

    if own is not None and not own.sound:
        sys.exit(MemtraceError.exit_code)


def say_own(trace: Trace, own: Judgement) -> None:
    """Print whether the file's own packing is sound, and name what overlaps or is not aligned."""
    from memtrace.packing.given import MOST_OVERLAPS

    judged = requested(trace).size - own.unknown
    left_out = f"; {own.unknown:,} blocks have no offset, and are left out" if own.unknown else ""
    if own.sound:
        echo(f"{OWN} is sound: of {judged:,} blocks no two that live at once overlap{left_out}.")
        return
    for faults, what in ((own.overlaps, "pairs of blocks that live at once overlap"), (own.misaligned, "blocks are not aligned")):
        if faults:
            many = f"at least {len(faults):,}" if len(faults) >= MOST_OVERLAPS else f"{len(faults):,}"
            echo(f"{OWN} is not sound: {many} {what}{left_out}")
    for one, other in own.overlaps[:MOST_SHOWN]:
        echo(f"  {of_file(trace, one)} and {of_file(trace, other)}")
    for one in own.misaligned[:MOST_SHOWN]:
        echo(f"  {of_file(trace, one)}")


def own_document(trace: Trace, own: Judgement) -> dict[str, Any]:
    """Return what the JSON says of the file's own packing; blocks are named by their place in the file."""
    plan = trace.plan
    assert plan is not None
    size = requested(trace)

    def block(number: int) -> dict[str, Any]:
        """Return one block as JSON has it."""
        place = {plan.word: int(plan.place[number])}
        return {**place, "offset": int(plan.offset[number]), "size_bytes": int(size[number])}

    return {
        "height_bytes": own.height,
        "lower_bound_bytes": own.bound,
        "sound": own.sound,
        "without_offset": own.unknown,
        "overlaps": [{"first": block(one), "second": block(other)} for one, other in own.overlaps],
        "misaligned": [block(one) for one in own.misaligned],
    }


def requested(trace: Trace) -> NDArray[np.int64]:
    """Return the bytes of each request of a trace, in order."""
    import numpy as np

    from memtrace.contract.ops import ALLOC, REALLOC

    return np.concatenate([events.size[(events.op == ALLOC) | (events.op == REALLOC)] for events in trace.batches()])


def of_file(trace: Trace, number: int) -> str:
    """Return in words where the block of a request is in the file, and where the file puts it."""
    from memtrace.packing.given import named

    assert trace.plan is not None
    return named(trace.plan, number, int(requested(trace)[number]))


def planned_by(trace: Trace, planner: str) -> tuple[Packing, int]:
    """Return what the planner of an inference runtime makes of a trace, and the bound of its sizes; the validator checks it."""
    from memtrace.packing.planners import packing_of

    buffers, packing = packing_of(trace, planner)
    check(trace, buffers, packing, 1)
    return packing, buffers.bound


def known_packings(trace: Trace, buffers: Buffers, how: Within, moves: bool) -> list[Packing]:
    """Return the packings of all methods, and where policies place the blocks, but if a packing is at the bound of both.

    ``moves``: each realloc of the policies moves its block, as it does in a packing. The validator checks each.
    """
    from memtrace.packing.packing import packings

    found = [*packings(buffers, how.effort, how.solver_seconds)]
    if not any(packing.height == buffers.bound_in_place for packing in found):
        found += [placed(trace, buffers, name, how.align, moves) for name in ONLINE]
    for packing in found:
        check(trace, buffers, packing, how.align)
    return found


def placed(trace: Trace, buffers: Buffers, name: str, align: int, moves: bool) -> Packing:
    """Return as a packing where an online policy places the blocks; ``moves``: each realloc moves its block."""
    import numpy as np

    from memtrace.contract.ops import ALLOC, REALLOC
    from memtrace.engine.replay import replay
    from memtrace.packing.packing import Packing, height

    text = f"{name}:align={align},min_block={align}" + (",realloc=move" if moves else "")
    found = replay(trace, text, keep=True)
    assert found.addresses is not None
    requests = np.concatenate([(events.op == ALLOC) | (events.op == REALLOC) for events in trace.batches()])
    chosen = found.addresses[requests]
    return Packing(name, chosen, height(chosen, buffers), found.seconds)


def fits(trace: Trace, buffers: Buffers, within: Within, output: str | None, as_json: bool) -> None:
    """Print whether a packing was found, as text or JSON, and write it to ``output`` if that is given.

    Exit with code 1 if none was found.
    """
    from memtrace.cli.output import echo_json
    from memtrace.errors import MemtraceError
    from memtrace.packing import packing as methods
    from memtrace.packing.buffers import lasting

    if methods.is_searched(buffers, within.capacity):
        outcome = methods.fit_within(buffers, within.capacity, within.effort, within.solver_seconds, lasting(trace, buffers))
    else:
        outcome = methods.within(known_packings(trace, buffers, within, output is not None), within.capacity)
    if outcome.packing is not None:
        check(trace, buffers, outcome.packing, within.align)
        if output is not None:
            write(Path(output), buffers, outcome.packing)
    if as_json:
        packing = outcome.packing
        echo_json(
            {
                "schema": "memtrace.bound.capacity/1",
                "trace": trace.name,
                "capacity_bytes": within.capacity,
                "lower_bound_bytes": buffers.bound,
                "fits": True if packing is not None else False if outcome.impossible else None,
                "method": outcome.method,
                "height_bytes": None if packing is None else packing.height,
                "steps": outcome.steps,
                "seconds": outcome.seconds,
            }
        )
    else:
        echo(f"{trace.name}: {outcome.says(buffers, within.capacity)} ({outcome.steps:,} steps, {outcome.seconds:.1f} s)")
    if outcome.packing is None:
        sys.exit(MemtraceError.exit_code)


def check(trace: Trace, buffers: Buffers, packing: Packing, align: int) -> None:
    """Raise PolicyError if the validator, which does not know how packings are made, finds an offence in the packing."""
    import numpy as np

    from memtrace.errors import PolicyError
    from memtrace.validation.placements import Claim, first_offence

    addresses = np.full(trace.facts.events, -2, np.int64)
    addresses[buffers.lower] = packing.addresses
    claim = Claim(
        trace=trace,
        addresses=addresses,
        reserved=np.full(trace.facts.events, packing.height),
        places=np.zeros((0, 4), np.int64),
        capacity=packing.height,
        align=align,
        pieces=False,
    )
    offence = first_offence(claim)
    if offence is not None:
        raise PolicyError(f"{packing.method}: {offence.text}")


def gap_sentence(bound: int, lowest: Packing) -> str:
    """Return a sentence on how far the lowest packing is above the lower bound in bytes."""
    from memtrace.units import format_size

    gap = lowest.height - bound
    if gap == 0:
        return f"{lowest.method} reaches the bound of {format_size(bound)}: no packing is lower."
    proof = ", and there is no lower one" if lowest.proven else ""
    return f"{lowest.method} is lowest, {100 * gap / bound:.1f} % ({format_size(gap)}) above the bound{proof}."


def write(path: Path, buffers: Buffers, packing: Packing) -> None:
    """Write a packing as CSV in the columns of the MiniMalloc benchmarks, whole or not at all."""
    import os

    import pandas as pd

    table = {"lower": buffers.lower, "upper": buffers.upper, "size": buffers.size, "offset": packing.addresses}
    part = path.with_name(path.name + ".part")
    try:
        pd.DataFrame(table).to_csv(part, index_label="id")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
