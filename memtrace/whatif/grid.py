"""The settings that are tried if the user names none, and checks of a setting before it is tried.

A setting is text as in PYTORCH_CUDA_ALLOC_CONF.
"""

from __future__ import annotations

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
# Option -> the first version of PyTorch that has it.
NEWER = {"large_segment_size_mb": "2.10", "per_process_memory_fraction": "2.10", "throw_on_cudamalloc_oom": "2.12"}
# Options that do not affect addresses in device memory.
NO_PLACEMENT = ("release_lock_on_cudamalloc", "graph_capture_record_stream_reuse")


def grid(recorded: str | None) -> list[str]:
    """Return the settings to try if the user names none; the recorded setting comes first if it is not among them."""
    return [*([recorded] if recorded and recorded not in GRID else []), *GRID]


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


def breaks(conf: str) -> str | None:
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
        if name in NEWER:
            said.append(f"{name} needs a newer PyTorch ({NEWER[name]} or later)")
        if name.startswith("pinned_") or name in NO_PLACEMENT:
            said.append(f"{name} does not change where device memory goes")
    return said


def _number(text: str) -> float:
    """Return the number that a text holds; 0 if it holds none."""
    try:
        return float(text)
    except ValueError:
        return 0.0
