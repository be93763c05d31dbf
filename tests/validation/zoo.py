"""Broken policies, each a sound one with one text replaced, and the verdict that each owes.

The kinds are those of `memtrace.validation.offences`; where a fault may well show in more than one way, all of them are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
RANGES = FOLDER.parents[1] / "memtrace" / "validation" / "start.py"
CELLS, TWO_ENDS = FOLDER / "good_cells.py", FOLDER.parents[1] / "docs" / "example_policy.py"


@dataclass(frozen=True)
class Broken:
    """A broken policy: what was replaced in which file, and the kinds of fault that are the right cause."""

    name: str
    base: Path
    old: str
    new: str
    kinds: frozenset[str]

    def source(self) -> str:
        """Return the text of the broken policy."""
        text = self.base.read_text()
        assert text.count(self.old) >= 1, f"{self.name}: {self.old!r} is not in {self.base.name}"
        return text.replace(self.old, self.new, 1)


def broken(name: str, base: Path, old: str, new: str, kinds: str) -> Broken:
    """Return a broken policy; ``kinds`` are the right causes, separated by blanks."""
    return Broken(name, base, old, new, frozenset(kinds.split()))


ZOO = (
    # Where blocks lie.
    broken("overlap by one byte", RANGES, "take(state, i, address, address + size)", "take(state, i, address, address + size - 1)", "overlap holes lost"),
    broken("overlap at the top", RANGES, "state.top[0] = address + size\n    state.used", "state.top[0] = address + size - 16\n    state.used", "outside overlap allocated holes"),
    broken("alignment ignored in holes", RANGES, "address = align_up(state.start[i], align)", "address = state.start[i]", "misaligned"),
    broken("alignment ignored at the top", RANGES, "address = align_up(low, align)", "address = low", "misaligned"),
    broken("alignment ignored by realloc", RANGES, "if address % max(state.unit, request.align) != 0:", "if address % state.unit != 0:", "misaligned"),
    broken("alignment added, not rounded", RANGES, "(number + align - 1) // align * align", "number + number % align", "misaligned"),
    broken("capacity ignored", RANGES, "if address + size > state.capacity:", "if address > 1 << 50:", "capacity"),
    broken("capacity overstepped by the last block", RANGES, "if address + size > state.capacity:", "if address > state.capacity:", "capacity"),
    broken("capacity ignored by realloc", RANGES, "state.top[0] and address + size <= state.capacity", "state.top[0]", "capacity"),
    broken("capacity of requested bytes only", RANGES, "if address + size > state.capacity:", "if address + request.size > state.capacity:", "capacity"),
    broken("negative address", RANGES, "    state.extent[request.block] = size\n    return address\n\n\ndef free", "    state.extent[request.block] = size\n    return address - 32\n\n\ndef free", "negative"),
    broken("address of the end", RANGES, "            return address\n    return grow", "            return address + size\n    return grow", "overlap outside misaligned holes"),
    broken("a hole of 16 bytes less fits", RANGES, "if address + size <= state.end[i]:", "if address + size - 16 <= state.end[i]:", "overlap holes lost"),
    broken("a hole fits without its alignment", RANGES, "if address + size <= state.end[i]:", "if state.start[i] + size <= state.end[i]:", "overlap holes lost"),
    # What is kept of holes.
    broken("a lost hole", RANGES, "    else:\n        insert(state, i, low, high)", "    elif high - low != 48:\n        insert(state, i, low, high)", "lost"),
    broken("a free leaks one size in seven", RANGES, "    give(state, address, address + size)\n\n\ndef resize", "    if request.size % 7 != 3:\n        give(state, address, address + size)\n\n\ndef resize", "lost"),
    broken("a hole twice", RANGES, "    elif after:\n        state.start[i] = low", "    elif after:\n        insert(state, i, low, high)", "holes lost overlap unfree"),
    broken("holes not joined", RANGES, "before = i > 0 and state.end[i - 1] == low", "before = False", "unfree"),
    broken("the gap below an aligned block is lost", RANGES, "    if address > low:\n", "    if address > low + 64:\n", "lost"),
    broken("the rest of a hole is lost", RANGES, "    elif high < end:\n        state.start[i] = high", "    elif high < end and end - high != 32:\n        state.start[i] = high", "lost holes error"),
    broken("half a block is freed", RANGES, "    give(state, address, address + size)\n\n\ndef resize", "    give(state, address, address + size // 2)\n\n\ndef resize", "lost"),
    broken("freed by requested size", RANGES, "    size = state.extent[request.block]\n    state.used[0] -= size", "    size = max(16, request.size)\n    state.used[0] -= size", "allocated lost"),
    broken("the hole in the middle is not cut", RANGES, "        insert(state, i + 1, high, end)", "        state.end[i] = end", "overlap lost holes"),
    # What is counted.
    broken("allocated leaks", RANGES, "    state.used[0] -= size\n    give", "    state.used[0] -= size // 2\n    give", "allocated holes lost"),
    broken("allocated is not what is allocated", RANGES, "    return state.used[0], free_bytes", "    return state.used[0] // 2, free_bytes", "allocated"),
    broken("seven holes too many", RANGES, "state.holes[0], largest", "state.holes[0] + 7, largest", "holes"),
    broken("half the largest hole", RANGES, "state.holes[0], largest", "state.holes[0], largest // 2", "holes"),
    broken("free bytes halved", RANGES, "    return state.used[0], free_bytes,", "    return state.used[0], free_bytes // 2,", "lost holes"),
    broken("the first hole for the largest", RANGES, "        largest = max(largest, size)", "        largest = largest or size", "holes"),
    broken("the last hole for the largest", RANGES, "        largest = max(largest, size)", "        largest = size", "holes"),
    broken("the largest of all times", RANGES, "state.holes[0], largest", "state.holes[0], state.top[0] if state.holes[0] else 0", "holes"),
    broken("reserved is what is used", RANGES, "    return state.top[0]", "    return state.used[0]", "outside lost holes"),
    broken("realloc forgets to count", RANGES, "    state.used[0] += size - old\n", "", "allocated lost holes"),
    broken("realloc forgets the new size", RANGES, "    state.used[0] += size - old\n    state.extent[request.block] = size", "    state.used[0] += size - old", "allocated lost overlap"),
    broken("realloc forgets what it gave back", RANGES, "        give(state, address + size, address + old)", "        pass", "lost"),
    broken("realloc grows into a live block", RANGES, "        if behind and state.end[i] >= address + size:", "        if behind:", "overlap holes lost"),
    broken("realloc grows without looking", RANGES, "        else:\n            return -1\n    state.used", "        else:\n            pass\n    state.used", "overlap"),
    broken("trim gives back a block", RANGES, "    if i >= 0 and state.end[i] == state.top[0]:", "    if i >= 0:", "outside"),
    # What is returned.
    broken("a float for an address", RANGES, "(number + align - 1) // align * align", "(number + align - 1) / align * align", "compiler type"),
    broken("a fraction of a hole", RANGES, "    state.top[0] = address + size\n    state.used", "    state.top[0] = address + size / 1\n    state.used", "compiler type"),
    broken("None when there is no room", RANGES, "    if address + size > state.capacity:\n        return -1", "    if address + size > state.capacity:\n        return", "compiler type"),
    broken("no block for any request", RANGES, "    return grow(state, request, size, align)", "    return -2", "fails"),
    broken("no second try when it is full", RANGES, "    return grow(state, request, size, align)", "    return grow(state, request, size, align) if state.holes[0] < 3 else -1", "fails"),
    # Time, order, and numbers.
    broken("an endless search", RANGES, "    while i < state.holes[0] and state.start[i] < address:\n        i += 1", "    while i < state.holes[0] and state.start[i] < address:\n        i += state.start[i] != 64", "endless"),
    broken("arrays too small", RANGES, "most = max_live + 2", "most = max_live // 2", "error"),
    broken("wrong after 2^31 bytes", RANGES, "one = np.zeros(1, np.int64)", "one = np.zeros(1, np.int32)", "error overlap negative outside"),
    broken("starts of holes in 32 bits", RANGES, "starts, ends = np.zeros(most, np.int64)", "starts, ends = np.zeros(most, np.int32)", "error overlap holes"),
    broken("all of an unlimited capacity", TWO_ENDS, "min(capacity, space)", "capacity", "arrays"),
    broken("an array for each page of the capacity", RANGES, "np.zeros(max_live + 1, np.int64)", "np.zeros(min(capacity // 4096, 1 << 34) + max_live, np.int64)", "arrays"),
    broken("a variable of the module", RANGES, "    for i in range(state.holes[0]):\n        address = align_up(state", "    LAST[0] = (LAST[0] + 1) % 7\n    for i in range(min(LAST[0], state.holes[0])):\n        address = align_up(state", "compiler differs error"),
    broken("an option that may be 0", RANGES, "    if unit < 1 or unit & (unit - 1):", "    if unit & (unit - 1):", "error"),
    broken("an option that is no power of two", RANGES, "    if unit < 1 or unit & (unit - 1):", "    if unit < 1:", "misaligned overlap holes"),
    # With a ledger, streams, and arrays that grow.
    broken("wrong only with streams", CELLS, "k, stream, x = class_of(state, request), request.stream % STREAMS", "k, stream, x = class_of(state, request) + (request.stream == 3), request.stream % STREAMS", "allocated overlap holes"),
    broken("one stream's cells are another's", CELLS, "    state.next[x] = state.head[stream, k]\n    state.head[stream, k] = x", "    state.next[x] = state.head[stream, k]\n    state.head[0, k] = x", "holes overlap"),
    broken("a search that always inspects one", CELLS, "    ledger[ALLOCATED] += size\n", "    ledger[ALLOCATED] += size\n    ledger[INSPECTED] = 1\n", "search"),
    broken("a ledger without the hole that opened", CELLS, "    open_hole(state.ledger, 1 << k)", "    if k != 6:\n        open_hole(state.ledger, 1 << k)", "holes"),
    broken("a ledger that opens a hole twice", CELLS, "    open_hole(state.ledger, 1 << k)", "    open_hole(state.ledger, 1 << k)\n    open_hole(state.ledger, 1 << k)", "holes"),
    broken("a hole counted with half its size", CELLS, "    open_hole(state.ledger, 1 << k)", "    open_hole(state.ledger, 1 << (k - 1))", "holes"),
    broken("a stale largest hole", CELLS, "            if state.head[stream, k] >= 0:\n                return 1 << k", "            if state.count[0] > k:\n                return 1 << k", "holes"),
    broken("a hole smaller than its block", CELLS, "        ledger[HOLE_TAKEN] = size\n", "        ledger[HOLE_TAKEN] = size // 2\n", "search"),
    broken("reserve calls not counted", CELLS, "        ledger[RESERVE_CALLS] += 1\n", "", "counts"),
    broken("the ledger's allocated forgets a size", CELLS, "    state.ledger[ALLOCATED] -= 1 << k", "    state.ledger[ALLOCATED] -= (1 << k) if k != 5 else 0", "allocated"),
    broken("asks for larger arrays for ever", CELLS, "    return state._replace(address=np.concatenate((state.address, more)), next=np.concatenate((state.next, more)))", "    return state", "endless"),
    broken("asks for larger arrays too late", CELLS, "        if x == state.address.size:", "        ledger[RESERVED] = address + size\n        if x == state.address.size:", "counts"),
    broken("larger arrays without what was in them", CELLS, "next=np.concatenate((state.next, more))", "next=np.concatenate((more, more))", "overlap holes"),
    broken("the wrong size of cells for an alignment", CELLS, "max(request.size, request.align, state.smallest)", "max(request.size, state.smallest)", "misaligned"),
    broken("a cell is freed into the class of another", CELLS, "    k, stream, x = class_of(state, request), request", "    k, stream, x = highest_set(max(request.size, request.align, state.smallest)), request", "allocated holes overlap"),
)  # fmt: skip
