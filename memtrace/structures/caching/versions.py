"""What differs between PyTorch's versions in the caching allocator: which of equal free blocks is taken, and what it is told.

Source: the allocators of CUDA builds 2.1.2 to 2.15.0, each given the same request streams on a stand-in driver.
"""

from typing import NamedTuple

MIB = 1 << 20
# How the choice among free blocks of equal size is made: the lowest address; the oldest segment, then the lowest address; the
# block whose object was made first.
LOWEST_ADDRESS, OLDEST_SEGMENT, OLDEST_OBJECT = range(3)
# Option -> the first version that takes it; all others are older than 2.1.
SINCE = {
    "expandable_segments": (2, 1),
    "max_non_split_rounding_mb": (2, 6),
    "graph_capture_record_stream_reuse": (2, 9),
    "per_process_memory_fraction": (2, 10),
    "large_segment_size_mb": (2, 11),
    "throw_on_cudamalloc_oom": (2, 12),
}


class Version(NamedTuple):
    """A version of PyTorch, such as 2.9; patch releases do not differ."""

    major: int
    minor: int

    def __str__(self):
        """Return the version as text."""
        return f"{self.major}.{self.minor}"


OLDEST, LATEST = Version(2, 0), Version(2, 15)


def parse_version(text):
    """Return the Version in a text such as ``2.9``, ``2.9.1`` or ``2.12.1+cu130``.

    Raises ValueError for any other text, and for versions before OLDEST. A later version than LATEST counts as LATEST.
    """
    parts = str(text).split("+")[0].split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        raise ValueError(f"version:{text} is no version of PyTorch, such as 2.9")
    found = Version(int(parts[0]), int(parts[1]))
    if found < OLDEST:
        raise ValueError(f"version:{text} is older than {OLDEST}, whose allocator is not modelled")
    return min(found, LATEST)


def ties_of(version):
    """Return which of equal free blocks a version takes: LOWEST_ADDRESS, OLDEST_SEGMENT or OLDEST_OBJECT."""
    if version < (2, 12):
        return LOWEST_ADDRESS
    return OLDEST_OBJECT if version < (2, 13) else OLDEST_SEGMENT


def least_split(version, large):
    """Return the least max_split_size in bytes that a version takes; ``large`` is its large_segment_size in bytes."""
    return large if version >= (2, 10) else large + MIB


def rest_from_last(version):
    """Return whether ``>:N`` in roundup_power2_divisions begins at the last size named, whose entry it overwrites."""
    return version < (2, 10)


def refusal(version, names):
    """Return why a version refuses settings with the options ``names``; None if it takes all of them."""
    for name in names:
        if version < SINCE.get(name, OLDEST):
            return f"{name} needs PyTorch {SINCE[name][0]}.{SINCE[name][1]} or later; this is {version}"
    return None


def variable_of(version):
    """Return the environment variable that holds the settings of a version.

    2.9 knows PYTORCH_ALLOC_CONF too, but does not read expandable_segments from it.
    """
    return "PYTORCH_ALLOC_CONF" if version >= (2, 10) else "PYTORCH_CUDA_ALLOC_CONF"
