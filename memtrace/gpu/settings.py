"""The settings of PyTorch's allocator that are tried, as texts in PyTorch's own syntax: which are worth a replay, which are odd,
and which a version of PyTorch refuses.
"""

from __future__ import annotations

from memtrace.structures.caching.versions import Version, least_split, refusal

MIB = 1 << 20
DEFAULTS = ""  # the setting in which every option has its default
GRID = (
    DEFAULTS,
    "expandable_segments:True",
    "max_split_size_mb:64",
    "max_split_size_mb:128",
    "max_split_size_mb:256",
    "max_split_size_mb:512",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:8",
    "roundup_power2_divisions:16",
    "max_split_size_mb:256,roundup_power2_divisions:8",
    "expandable_segments:True,roundup_power2_divisions:8",
    "large_segment_size_mb:64",
)
# Options that do not affect addresses in device memory.
NO_PLACEMENT = ("release_lock_on_cudamalloc", "graph_capture_record_stream_reuse")


def grid(recorded: str | None, version: Version) -> list[str]:
    """Return the settings to try if the user names none: a fixed list, without those that the version refuses.

    ``recorded``, the setting in force during the recording (None: not known), comes first if it is not in the list.
    """
    taken = [conf for conf in GRID if refused_by(conf, version) is None]
    return [*([recorded] if recorded and recorded not in taken else []), *taken]


def options_of(conf: str) -> dict[str, str]:
    """Return the options of a setting as key -> value; commas inside brackets do not separate options."""
    found, depth, part = {}, 0, ""
    for character in conf.replace(" ", "") + ",":
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            key, _, value = part.partition(":")
            if key:
                found[key] = value
            part = ""
        else:
            part += character
    return found


def changes(conf: str, recorded: str) -> int:
    """Return the number of options that differ between two settings."""
    one, other = options_of(conf), options_of(recorded)
    return sum(one.get(key) != other.get(key) for key in one.keys() | other.keys())


def refused_by(conf: str, version: Version) -> str | None:
    """Return why a version of PyTorch refuses a setting, or fails under it; None if it does neither."""
    options = options_of(conf)
    if reason := refusal(version, options):
        return reason
    large = int(_number(options.get("large_segment_size_mb", "20")) * MIB)
    split = options.get("max_split_size_mb", "")
    if split.isdigit() and int(split) * MIB < least_split(version, large):
        return f"max_split_size_mb:{split} is below {least_split(version, large) // MIB}, the least that PyTorch {version} takes"
    return refusal_reason(conf)


def refusal_reason(conf: str) -> str | None:
    """Return why a setting is not replayed, because PyTorch itself fails under it; None if it can be replayed."""
    options = options_of(conf)
    if "max_split_size_mb" in options and options.get("expandable_segments") == "True":
        return "PyTorch itself goes wrong with max_split_size_mb and expandable_segments together (pytorch#123548, #119452)"
    return None


def warnings(conf: str, largest_request: int) -> list[str]:
    """Return remarks on odd options of a setting, as sentences that begin with the option's name.

    ``largest_request``: bytes of the trace's largest request.
    """
    options = options_of(conf)
    said = []
    fraction = options.get("per_process_memory_fraction")
    if "garbage_collection_threshold" in options and (fraction is None or _number(fraction) >= 1):
        said.append("garbage_collection_threshold does nothing without per_process_memory_fraction below 1")
    if "garbage_collection_threshold" in options and options.get("expandable_segments") == "True":
        said.append("garbage_collection_threshold does nothing with expandable_segments: those are never collected")
    if _number(options.get("max_split_size_mb", "")) * MIB > largest_request:
        said.append(f"max_split_size_mb is above the largest request ({largest_request / MIB:,.0f} MiB)")
    if "max_non_split_rounding_mb" in options and "max_split_size_mb" not in options:
        said.append("max_non_split_rounding_mb does nothing without max_split_size_mb")
    for name in options:
        if name.startswith("pinned_") or name in NO_PLACEMENT:
            said.append(f"{name} does not change where device memory goes")
    return said


def splits_nothing(conf: str, largest_request: int) -> bool:
    """Return whether a setting is a max_split_size alone that no block of the program reaches, so that it changes nothing."""
    options = options_of(conf)
    least = max(-(-largest_request // (2 * MIB)) * 2, 20)  # MiB of the largest segment
    return list(options) == ["max_split_size_mb"] and _number(options["max_split_size_mb"]) > least


def _number(text: str) -> float:
    """Return the number that a text holds; 0 if it holds none."""
    try:
        return float(text)
    except ValueError:
        return 0.0
