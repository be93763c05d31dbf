"""Parse `gpt-train:layers=24,seed=7` into a recipe: a workload with its options and seed, which yields batches of raw rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from types import ModuleType

import numpy as np

from memtrace import __version__
from memtrace.errors import UsageError
from memtrace.names import nearest, split_spec
from memtrace.sweeps import spellings
from memtrace.trace.batches import Batch, RowLocation, rows_of
from memtrace.trace.model import COLUMNS, Trace
from memtrace.workloads import added_workloads, load, workload_names
from memtrace.workloads.events import Made, Piece
from memtrace.workloads.options import Between, Option, Value, options_of, read_options, text_of

Read = Callable[[str], Trace]

MOST_SEED = (1 << 63) - 1
LONGEST_NAME = 80  # upper bound of the characters of a trace's name
IDENTITY = ("workload", "seed", "generator")  # keys of a trace's metadata, before the facts of its workload
SEED = Option("seed", int, 0, (), Between(0, MOST_SEED), "of the random numbers; the same seed gives the same bytes")


@dataclass(frozen=True, eq=False)
class Recipe:
    """Describe a workload with its options and seed; the same recipe gives the same bytes."""

    workload: str  # its name
    module: ModuleType
    options: dict[str, Value]  # all options, without the seed
    given: dict[str, Value]  # the options that the user gave
    seed: int
    read: Read  # reads the trace that a workload learns from

    @property
    def label(self) -> str:
        """Return the recipe as users write it: the given options in the order of all options, and a seed that is not 0."""
        given = {key: value for key, value in self.options.items() if key in self.given}
        if self.seed:
            given["seed"] = self.seed
        shown = ",".join(f"{key}={text_of(value)}" for key, value in given.items())
        return f"{self.workload}:{shown}" if shown else self.workload

    @property
    def name(self) -> str:
        """Return the label as a file name, with a digest in place of its end if it is longer than LONGEST_NAME."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", self.label).strip("-")
        digest = hashlib.sha256(self.label.encode()).hexdigest()[:8]
        return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 9]}-{digest}"

    def make(self) -> Made:
        """Generate the workload from the start; raises UsageError if options exclude each other."""
        try:
            learns = {"read": self.read} if "read" in signature(self.module.generate).parameters else {}
            made: Made = self.module.generate(self.seed, **learns, **self.options)
        except UsageError as error:
            raise UsageError(f"{self.workload}: {error}") from None
        return made

    def batches(self, digest: Callable[[bytes], None] | None = None) -> Iterator[Batch]:
        """Yield the workload's events as batches of raw rows, as a format does.

        `digest`, a hash's update function, is called with the bytes of all columns.
        """
        made = self.make()
        identity = zip(IDENTITY, (self.label, str(self.seed), generator(self.workload)), strict=True)
        metadata = {**dict(identity), **made.facts}
        done = 0
        for piece in made.pieces:
            batch = _batch(piece, made, done, metadata)
            for name in batch.columns if digest is not None else ():
                assert digest is not None
                digest(np.ascontiguousarray(getattr(batch.rows, name)).view(np.uint8).data)  # type: ignore[arg-type]
            done = batch.done
            yield batch


def generator(workload: str) -> str:
    """Return the versions of what generates a workload's events: memtrace, and the package that adds the workload, if any."""
    plugin = added_workloads().get(workload)
    return f"memtrace {__version__}" + (f", {plugin.distribution} {plugin.version}" if plugin is not None else "")


def _batch(piece: Piece, made: Made, before: int, metadata: Mapping[str, str]) -> Batch:
    """Return a piece as a batch; `before` is the number of events in the pieces before it."""
    numbers = {"id": piece.id, "size": piece.size}
    for name in ("time", "stream", "dst"):
        column = getattr(piece, name)
        if column is not None:
            numbers[name] = column
    tagged = ("tag",) if made.tags else ()
    columns = tuple(name for name in COLUMNS if name in ("op", *numbers, *tagged))
    done = before + piece.op.size
    rows = rows_of(piece.op, numbers, piece.tag if made.tags else None)
    return Batch(rows, columns, lambda row: RowLocation("row", before + row + 1), made.tags, {}, done, made.events, metadata)


def parse(text: str, more: Mapping[str, str] | None = None, seed: int | None = None, *, read: Read) -> Recipe:
    """Return the recipe that a text describes; the options in `more` and `seed` overrule those in the text.

    `read` reads a trace from a path, for a workload that learns from one (`fit`).

    Raises UsageError, which says what to try, for an unknown workload or option, and for values that are not allowed.
    """
    name, given = split_spec(text)
    given = {key.replace("-", "_"): value for key, value in {**given, **(more or {})}.items()}
    module = load(name)
    known = {**options_of(module.generate), SEED.name: SEED}
    values = read_options(name, given, known)
    sown = values.pop(SEED.name)
    chosen = int(sown or 0) if seed is None else seed
    return Recipe(name, module, values, {key: values[key] for key in given if key in values}, chosen, read)


def is_workload(text: str) -> bool:
    """Return whether a text, given where a trace is expected, names a workload."""
    return text.partition(":")[0] in workload_names()


def each_of(text: str) -> list[str]:
    """Return the traces that a text stands for: a workload's options may be sweeps, any other text is one trace.

    Raise UsageError for a sweep that cannot be read.
    """
    return spellings(text) if is_workload(text) else [text]


def nearest_workload(text: str) -> str | None:
    """Return the workload whose name is nearest to a text that is no file, or None."""
    name = text.partition(":")[0]
    return None if re.search(r"[./\\]", name) else nearest(name, workload_names())
