"""PyTorch's allocator settings, as text -> the rules of a caching allocator; what PyTorch refuses is refused.

Source: the options of PYTORCH_CUDA_ALLOC_CONF, and their limits as PyTorch 2.14 checks them.
"""

from memtrace.structures.caching.model import Rules
from memtrace.structures.caching.sizes import DIVISIONS

MIB = 1 << 20
NO_LIMIT = 1 << 62
UNBOUNDED_DEVICE = 1 << 40  # without a capacity, address space is reserved as on a device of 1 TiB
TOLD = {"told": 0, "auto": 1, "manual": 2}
MOST_THREADS = 128


def rules_of(capacity, options):
    """The rules and the table of divisions; ``options`` are those of the policy, as text. Raises ValueError with the reason."""
    if options["backend"] != "native":
        raise ValueError(f"backend:{options['backend']} is another allocator; only native is replayed")
    check_pinned(options)
    large = large_segment(options["large_segment_size_mb"])
    max_split = at_least("max_split_size_mb", options["max_split_size_mb"], large)
    rounding = at_least("max_non_split_rounding_mb", options["max_non_split_rounding_mb"] or str(large // MIB), large)
    fraction = number("per_process_memory_fraction", options["per_process_memory_fraction"])
    if not 0 <= fraction <= 1:
        raise ValueError(f"per_process_memory_fraction:{fraction:g} is not from 0 to 1")
    if fraction < 1 and capacity >= NO_LIMIT:
        raise ValueError("per_process_memory_fraction is a share of the device's memory; try: --capacity 24GiB")
    limit = int(fraction * capacity + 0.5) if fraction < 1 else NO_LIMIT
    rules = Rules(
        capacity=capacity,
        device=capacity if capacity < NO_LIMIT else UNBOUNDED_DEVICE,
        limit=limit,
        collect_from=collection(options["garbage_collection_threshold"], limit),
        max_split=max_split,
        max_rounding=rounding,
        large_buffer=large,
        expandable=options["expandable_segments"],
        # The limit of the process, which is rounded otherwise, is looked at first; beyond that a request fails as ever.
        reject_from=int(fraction * capacity) if options["throw_on_cudamalloc_oom"] else NO_LIMIT,
        first_fit=options["va"] == "firstfit" and not options["expandable_segments"],  # reserved addresses only rise
        by_age=options["ties"] == "age",
        told=TOLD[options["events"]],
    )
    return rules, divisions(options["roundup_power2_divisions"])


def check_pinned(options):
    """The settings of the allocator of pinned host memory do nothing here, but they have to be right."""
    threads = whole("pinned_num_register_threads", options["pinned_num_register_threads"])
    if not 1 <= threads <= MOST_THREADS or threads & (threads - 1):
        raise ValueError(f"pinned_num_register_threads:{threads} is no power of two from 1 to {MOST_THREADS}")
    for name in ("pinned_reserve_segment_size_mb", "pinned_max_cached_size_mb", "pinned_max_round_threshold_mb"):
        if options[name]:
            whole(name, options[name])


def whole(name, text):
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}:{text} is no whole number") from None


def number(name, text):
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}:{text} is no number") from None


def large_segment(text):
    """PyTorch takes more than 10 MiB, which is where made-to-measure segments begin."""
    mib = whole("large_segment_size_mb", text)
    if not 10 < mib < NO_LIMIT // MIB:
        raise ValueError(f"large_segment_size_mb:{mib} is not above 10")
    return mib * MIB


def at_least(name, text, large):
    """A size in MiB as bytes: PyTorch takes none below large_segment_size_mb."""
    if text in ("unlimited", "-1"):
        return NO_LIMIT
    mib = whole(name, text)
    if mib * MIB < large:
        raise ValueError(f"{name}:{mib} is below {large // MIB}, the least that PyTorch takes (large_segment_size_mb)")
    return min(mib * MIB, NO_LIMIT)


def collection(text, limit):
    """Reserved bytes above which garbage is collected; -1: never, as without a limit of the process."""
    if text == "off":
        return -1
    threshold = number("garbage_collection_threshold", text)
    if not 0 < threshold < 1:
        raise ValueError(f"garbage_collection_threshold:{text} is not between 0 and 1, both excluded")
    return int(limit * threshold) if limit < NO_LIMIT else -1


def divisions(text):
    """One number for all sizes, or ``[256:1,512:2,>:8]``: per doubling, named by its lower end in MiB."""
    if text == "off":
        return [0] * DIVISIONS
    if not text.startswith("["):
        return [division(text, 1)] * DIVISIONS
    if not text.endswith("]"):
        raise ValueError(f"roundup_power2_divisions:{text} lacks its closing bracket")
    table, last, first = [0] * DIVISIONS, 0, True
    for part in [part for part in text[1:-1].split(",") if part.strip()]:
        key, colon, value = (word.strip() for word in part.partition(":"))
        if not colon:
            raise ValueError(f"roundup_power2_divisions: {part.strip()!r} is not size:divisions")
        steps = division(value, 0)
        if key == ">":
            table[last + 1 :] = [steps] * (DIVISIONS - last - 1)
            continue
        at = doubling(key)
        if first:
            table[:at] = [steps] * at
        table[at] = steps
        last, first = at, False
    return table


def division(text, least):
    steps = whole("roundup_power2_divisions", text)
    if steps < least or steps & (steps - 1):
        raise ValueError(f"roundup_power2_divisions:{text} is no power of two")
    return steps


def doubling(key):
    mib = whole("roundup_power2_divisions", key)
    if mib < 1 or mib & (mib - 1):
        raise ValueError(f"roundup_power2_divisions: the size {key} is no power of two (in MiB)")
    return min(mib.bit_length() - 1, DIVISIONS - 1)
