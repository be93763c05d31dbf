"""What a check of a policy may find: the kind of fault, and where."""

from __future__ import annotations

from dataclasses import dataclass

from memtrace.errors import PolicyError

KINDS = {
    "type": "a function of the policy returned something else than a whole number",
    "negative": "an address below 0",
    "misaligned": "an address that is not aligned as asked",
    "capacity": "more reserved bytes than the capacity, or a block beyond it",
    "outside": "a block outside the reserved bytes",
    "overlap": "a block that overlaps a live one",
    "short": "a block in pieces that has fewer bytes than asked for",
    "allocated": "allocated bytes that do not fit the blocks",
    "lost": "reserved bytes that are neither allocated nor in holes",
    "holes": "counts and sizes of holes that contradict each other or the blocks",
    "search": "counts of a search that cannot be",
    "counts": "other counts of the ledger that cannot be",
    "fails": "a request that failed, or got no block, without need",
    "unfree": "what is freed cannot be had again",
    "endless": "a call that does not come back",
    "error": "an exception",
    "arrays": "a state that is too large, or as large as a capacity without limit",
    "differs": "another placement for the same trace",
    "compiler": "a text that cannot be compiled",
    "compiled": "another placement when it is compiled",
}


@dataclass(frozen=True)
class Fault:
    """A fault that was found: its kind, one of KINDS, and a sentence with the event, the request and the blocks."""

    kind: str
    text: str


class Offence(PolicyError):
    """Report the first fault of a policy, from inside a replay."""

    def __init__(self, kind: str, text: str) -> None:
        """Keep the kind, one of KINDS, and the sentence."""
        super().__init__(text)
        assert kind in KINDS, kind
        self.kind, self.text = kind, text
