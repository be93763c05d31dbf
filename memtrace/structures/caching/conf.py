"""Convert PyTorch's allocator settings from text to the ``Rules`` of a caching allocator.

A setting that PyTorch refuses raises ValueError with the reason.

Source: the options of PYTORCH_CUDA_ALLOC_CONF, and their limits as PyTorch 2.1 to 2.15 check them.
"""

from memtrace.structures.caching.state import DIVISIONS, Rules
from memtrace.structures.caching.versions import least_split, parse_version, refusal, rest_from_last, ties_of

MIB = 1 << 20
NO_LIMIT = 1 << 62  # bytes that stand for "no limit"
UNBOUNDED_DEVICE = 1 << 40  # bytes: without a capacity, address space is reserved as on a device of 1 TiB
STREAM_EVENT_MODES = {"told": 0, "auto": 1, "manual": 2}  # value of the option ``events`` -> code in ``Rules.told``
# Option that not all versions take -> its default. per_process_memory_fraction is not among them: a program of any version can
# set it by torch.cuda.set_per_process_memory_fraction.
VERSIONED = {
    "expandable_segments": False,
    "max_non_split_rounding_mb": "",
    "graph_capture_record_stream_reuse": False,
    "large_segment_size_mb": "20",
    "throw_on_cudamalloc_oom": False,
}
MOST_THREADS = 128  # upper bound of pinned_num_register_threads


def rules_of(capacity, options):
    """Return the ``Rules`` and the table of divisions (see ``divisions``) for the policy's options.

    ``capacity``: bytes of the device, NO_LIMIT for no bound. ``options``: name -> value; numbers are given as text, flags as
    bool. Raises ValueError with the reason if a value is not one that PyTorch takes, or cannot be replayed.
    """
    if options["backend"] != "native":
        raise ValueError(f"backend:{options['backend']} is another allocator; only native is replayed")
    check_pinned(options)
    version = parse_version(options["version"])
    reason = refusal(version, [name for name, default in VERSIONED.items() if options[name] != default])
    if reason is not None:
        raise ValueError(reason)
    large = large_segment(options["large_segment_size_mb"])
    max_split = at_least("max_split_size_mb", options["max_split_size_mb"], least_split(version, large))
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
        # This limit is rounded down, that of the process to the nearest byte. The limit of the process is checked first: a
        # request beyond it is no rejection, but an ordinary failure.
        reject_from=int(fraction * capacity) if options["throw_on_cudamalloc_oom"] else NO_LIMIT,
        # Addresses reserved for expandable segments only rise.
        first_fit=options["va"] == "firstfit" and not options["expandable_segments"],
        ties=ties_of(version),
        told=STREAM_EVENT_MODES[options["events"]],
    )
    return rules, divisions(options["roundup_power2_divisions"], rest_from_last(version))


def check_pinned(options):
    """Check the settings of the allocator of pinned host memory; raise ValueError if PyTorch would refuse one.

    These settings do not affect device memory, so they have no other effect here.
    """
    threads = whole("pinned_num_register_threads", options["pinned_num_register_threads"])
    if not 1 <= threads <= MOST_THREADS or threads & (threads - 1):
        raise ValueError(f"pinned_num_register_threads:{threads} is no power of two from 1 to {MOST_THREADS}")
    for name in ("pinned_reserve_segment_size_mb", "pinned_max_cached_size_mb", "pinned_max_round_threshold_mb"):
        if options[name]:
            whole(name, options[name])


def whole(name, text):
    """Return the whole number that ``text`` holds; ValueError with the option's name if it holds none."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}:{text} is no whole number") from None


def number(name, text):
    """Return the number that ``text`` holds, as a float; ValueError with the option's name if it holds none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}:{text} is no number") from None


def large_segment(text):
    """Return the value of large_segment_size_mb, given in MiB as text, in bytes.

    Raises ValueError unless it is more than 10 MiB, as in PyTorch: made-to-measure segments begin at that size.
    """
    mib = whole("large_segment_size_mb", text)
    if not 10 < mib < NO_LIMIT // MIB:
        raise ValueError(f"large_segment_size_mb:{mib} is not above 10")
    return mib * MIB


def at_least(name, text, least):
    """Return the value of a size option, given in MiB as text, in bytes; NO_LIMIT for ``unlimited`` and ``-1``.

    Raises ValueError if the size is below ``least`` bytes, as in PyTorch.
    """
    if text in ("unlimited", "-1"):
        return NO_LIMIT
    mib = whole(name, text)
    if mib * MIB < least:
        raise ValueError(f"{name}:{mib} is below {least // MIB}, the least that PyTorch takes")
    return min(mib * MIB, NO_LIMIT)


def collection(text, limit):
    """Return the reserved bytes above which the allocator frees unused segments (garbage collection); -1 if it never does.

    ``text`` is garbage_collection_threshold: "off", or a share of ``limit``, the bytes that this process may reserve. Without
    such a limit (NO_LIMIT) PyTorch collects nothing. Raises ValueError unless the share is between 0 and 1, both excluded.
    """
    if text == "off":
        return -1
    threshold = number("garbage_collection_threshold", text)
    if not 0 < threshold < 1:
        raise ValueError(f"garbage_collection_threshold:{text} is not between 0 and 1, both excluded")
    return int(limit * threshold) if limit < NO_LIMIT else -1


def divisions(text, from_last=False):
    """Return the table of divisions that roundup_power2_divisions describes, [DIVISIONS].

    Entry k says in how many steps sizes from 2^k MiB to 2^(k+1) MiB are rounded; 0 or 1 turns that rounding off. ``text`` is
    ``off``, one number for all sizes, or a list like ``[256:1,512:2,>:8]``, where a key is the lower end of its range in MiB. The
    first key's value also fills all entries below it; ``>`` fills those above the last key before it, or with ``from_last`` those
    from that key on (older versions). Entries not named are 0.
    """
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
            start = last if from_last else last + 1
            table[start:] = [steps] * (DIVISIONS - start)
            continue
        at = doubling(key)
        if first:
            table[:at] = [steps] * at
        table[at] = steps
        last, first = at, False
    return table


def division(text, least):
    """Return a number of divisions given as text; ValueError unless it is ``least`` or more, and 0 or a power of two."""
    steps = whole("roundup_power2_divisions", text)
    if steps < least or steps & (steps - 1):
        raise ValueError(f"roundup_power2_divisions:{text} is no power of two")
    return steps


def doubling(key):
    """Return the index into the table of divisions of ``key``, a size in MiB as text that has to be a power of two."""
    mib = whole("roundup_power2_divisions", key)
    if mib < 1 or mib & (mib - 1):
        raise ValueError(f"roundup_power2_divisions: the size {key} is no power of two (in MiB)")
    return min(mib.bit_length() - 1, DIVISIONS - 1)
