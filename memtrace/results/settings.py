"""The run options, which are the settings of a replay. Each is declared here, once, as a field of `Settings`.

A field says what the option means, how a given value is checked, and which commands take it. `memtrace run` and `memtrace
tiers` make their command-line options of the fields, and a suite its keys; the settings then go to the cells as they are.
So a run option is added by a field here and its use in the engine or in the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, get_args

from memtrace.engine.replay import ALL_SAMPLES, DEFAULT_SAMPLES, OnOom
from memtrace.errors import UsageError
from memtrace.sweeps import values
from memtrace.trace.tags import Grouping
from memtrace.units import parse_size

if TYPE_CHECKING:
    from memtrace.measures.locality.caches import Model


@dataclass(frozen=True)
class Taken:
    """Say that a command takes an option."""

    help: str | None = None  # what the option means there, if that is not what it means for `memtrace run`


@dataclass(frozen=True)
class Refused:
    """Say that a command does not take an option."""

    reason: str  # the end of the message to a user who gives it


@dataclass(frozen=True, kw_only=True)
class RunOption:
    """Declare a run option; `memtrace run` takes all of them.

    A default that is a bool makes the option a flag, and ``words`` make it one of these words. Any other option has a
    function ``read``, which returns the field's value for a text or a value of a TOML file, and raises UsageError.
    """

    name: str = ""  # of the field of `Settings`; it and the default are filled in by `run_options`
    default: Any = None  # of the field
    help: str  # for `memtrace run --help`
    suite: Taken | Refused
    tiers: Taken | Refused
    metavar: str | None = None  # the word for its value in the help, if it is neither a flag nor one of some words
    words: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None

    @property
    def spelling(self) -> str:
        """Return the name as the command line has it, such as --on-oom."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_flag(self) -> bool:
        """Return whether the option is true if it is given, else false."""
        return isinstance(self.default, bool)

    def value(self, given: Any) -> Any:
        """Return the field's value for a text of the command line or a value of a TOML file.

        Raise UsageError, which says what is wrong with the given value but does not name the option.
        """
        if self.is_flag and not isinstance(given, bool):
            raise UsageError(f"{given!r} is neither true nor false")
        if self.words and given not in self.words:
            raise UsageError(f"{given!r} is none of {', '.join(self.words)}")
        return self.read(given) if self.read is not None else given


def read_size(given: Any) -> int:
    """Return a number of bytes, given as a number or as a text such as "80GiB". Raise UsageError if it is none."""
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise UsageError(f"{given!r} is no size; write 4096 or '80GiB'")
    return parse_size(str(given))


def read_sizes(given: Any) -> tuple[int, ...]:
    """Return capacities in bytes, given as a number or as a text that may be a sweep such as "2GiB..8GiB/12".

    Raise UsageError if it is none, as `read_capacity` does.
    """
    return tuple(map(read_capacity, values(given))) if isinstance(given, str) else (read_capacity(given),)


def read_samples(given: Any) -> int:
    """Return a number of samples; the word "all" stands for every event. Raise UsageError for anything else."""
    if given == "all":
        return ALL_SAMPLES
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise UsageError(f"{given!r} is neither a number above 0 nor 'all'")
    return given


def read_capacity(given: Any) -> int:
    """Return the bytes of a capacity. Raise UsageError for text that is no size, and for 0 bytes, in which nothing fits."""
    size = read_size(given)
    if size == 0:
        raise UsageError("0 bytes is no capacity: nothing fits\ntry: a size such as 64KiB; without it the heap grows as needed")
    return size


def read_model(given: Any) -> Model:
    """Return the model of caches and TLBs that a text describes. Raise UsageError if it describes none."""
    from memtrace.measures.locality.caches import parse_model

    return parse_model(str(given))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that all cells of a run share: one field for each run option."""

    capacity: int | None = field(  # bytes; None: the heap grows as needed
        default=None,
        metadata={
            "option": RunOption(
                help="Fixed size of memory, such as 80GiB; without it the heap grows as needed.",
                metavar="SIZE",
                read=read_capacity,
                suite=Taken(),
                tiers=Refused("each tier has a capacity of its own (--tier), and --top sets that of the first"),
            )
        },
    )
    on_oom: OnOom = field(
        default="stop",
        metadata={
            "option": RunOption(
                help="What a request that fails does: it ends the replay, or it is skipped and counted.",
                words=get_args(OnOom),
                suite=Taken(),
                tiers=Taken("What a request that fits no tier does: it ends the replay, or it is skipped."),
            )
        },
    )
    samples: int = field(
        default=DEFAULT_SAMPLES,
        metadata={
            "option": RunOption(
                help="Number of events at which the timeline is sampled, or all.",
                metavar="N",
                read=read_samples,
                suite=Taken(),
                tiers=Refused("the number of samples of a replay over tiers is fixed"),
            )
        },
    )
    validate: bool = field(
        default=False,
        metadata={
            "option": RunOption(
                help="Check every placement with an independent validator; exit 4 at the first offence.",
                suite=Taken(),
                tiers=Refused("the validator checks the placements of a single memory"),
            )
        },
    )
    placements: bool = field(
        default=False,
        metadata={
            "option": RunOption(
                help="Also write the address of every block (placements.parquet).",
                suite=Refused("the results of a suite have no table of placements"),
                tiers=Refused("the results of a replay over tiers have no table of placements"),
            )
        },
    )
    locality: Model | None = field(  # the caches and TLBs whose misses are counted; None: none
        default=None,
        metadata={
            "option": RunOption(
                help="Also count misses of caches and TLBs: skylake or skylake-sp, or one with changes, such as "
                "skylake:reach=4KiB.",
                metavar="MODEL",
                read=read_model,
                suite=Refused("the results of a suite have no table of misses"),
                tiers=Refused("misses are counted for the placements of a single memory"),
            )
        },
    )
    tags: Grouping = field(
        default="auto",
        metadata={
            "option": RunOption(
                help="Group tags by kind, their first word, or show each by name; auto: by name where there are few.",
                words=get_args(Grouping),
                suite=Refused("the tables of a suite have each tag; memtrace report and memtrace show group them"),
                tiers=Taken(),
            )
        },
    )


def run_options() -> dict[str, RunOption]:
    """Return all run options by name, in the order of the fields of `Settings`."""
    return {each.name: replace(each.metadata["option"], name=each.name, default=each.default) for each in fields(Settings)}
