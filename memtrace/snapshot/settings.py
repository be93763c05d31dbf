"""Convert the allocator settings that a snapshot recorded to the text that PYTORCH_CUDA_ALLOC_CONF would have."""

from __future__ import annotations

from typing import Any

import numpy as np

from memtrace.snapshot.model import Action, Recording
from memtrace.snapshot.rows import Released

MIB = 1 << 20
SHARE = "per_process_memory_fraction"
# Options that a snapshot records only as part of the text of PYTORCH_CUDA_ALLOC_CONF.
ONLY_IN_TEXT = ("max_non_split_rounding_mb", "large_segment_size_mb", SHARE, "throw_on_cudamalloc_oom")


def conf_of(settings: dict[str, Any], recording: Recording) -> str:
    """Return the settings in force at the end of the recording as text.

    In old files, which have no settings, only expandable_segments is known, from events and segments.
    """
    if not settings:
        mapped = np.isin(recording.events.action, (Action.SEGMENT_MAP, Action.SEGMENT_UNMAP)).any()
        return "expandable_segments:True" if mapped or recording.segments.expandable.any() else ""
    options = []
    if settings.get("expandable_segments"):
        options.append("expandable_segments:True")
    most = settings.get("max_split_size")
    if isinstance(most, int) and 0 < most < 1 << 58:
        options.append(f"max_split_size_mb:{most // MIB}")
    if collects(settings):
        options.append(f"garbage_collection_threshold:{settings['garbage_collection_threshold']:g}")
    roundup = _roundup(settings.get("roundup_power2_divisions"))
    options += [roundup] if roundup else []
    return ",".join([*options, *_only_in_text(str(settings.get("PYTORCH_CUDA_ALLOC_CONF") or ""))])


def without_share(conf: str, recording: Recording) -> str:
    """Return the settings without per_process_memory_fraction.

    They are returned unchanged if a request failed, because such a request recorded how much memory the device had.
    """
    if (recording.events.action == Action.OOM).any():
        return conf
    return ",".join(part for part in conf.split(",") if not part.startswith(f"{SHARE}:"))


def collects(settings: dict[str, Any]) -> bool:
    """Return whether garbage collection was on."""
    threshold = settings.get("garbage_collection_threshold")
    return isinstance(threshold, float) and threshold > 0


def released(settings: dict[str, Any]) -> Released:
    """Return the settings that decide when segments were given back."""
    most = settings.get("max_split_size")
    return Released(collects(settings), most if isinstance(most, int) and most > 0 else Released().max_split)


def _roundup(divisions: Any) -> str:
    """Return the option roundup_power2_divisions as text, empty if it is off.

    ``divisions``: the recorded dict of size in MiB -> divisions. Equal values become one number, others a list.
    """
    if not isinstance(divisions, dict):
        return ""
    pairs = sorted((int(key), int(value)) for key, value in divisions.items() if str(key).isdigit() and isinstance(value, int))
    values = [value for _, value in pairs]
    if not any(value > 1 for value in values):
        return ""
    if len(set(values)) == 1:
        return f"roundup_power2_divisions:{values[0]}"
    return "roundup_power2_divisions:[" + ",".join(f"{key}:{value}" for key, value in pairs) + "]"


def _only_in_text(conf: str) -> list[str]:
    """Return the options, each as ``key:value``, that are recorded only in the text ``conf``."""
    parts = [part.strip() for part in conf.replace(" ", "").split(",")]
    return [part for part in parts if part.partition(":")[0] in ONLY_IN_TEXT]
