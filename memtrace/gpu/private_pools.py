"""Give replays from an empty heap the private pools of a recording: which streams are theirs, which of them hand out their blocks
whole, and when their owners were deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memtrace.formats.snapshot.pools import unsplit_pools
from memtrace.formats.snapshot.records import POOL_BITS
from memtrace.gpu.fidelity import Looks, deletions
from memtrace.structures.caching.seeding import seed
from memtrace.structures.caching.state import PRIVATE, UNSPLIT

if TYPE_CHECKING:
    from memtrace.engine.replay import Hooks
    from memtrace.gpu.recorded import Recorded

MakeHooks = Callable[[], "Hooks"]  # a replay takes hooks of its own


def hooks_of(recorded: Recorded) -> MakeHooks | None:
    """Return what makes the hooks of a replay of a recording from an empty heap; None if it had no private pools."""
    from memtrace.engine.replay import Hooks

    unsplit = unsplit_pools(recorded.recording)
    private = {
        number: PRIVATE + (UNSPLIT if handle >> POOL_BITS in unsplit else 0)
        for number, handle in enumerate(recorded.rows.streams.tolist())
        if handle >> POOL_BITS
    }
    if not private:
        return None
    deleted = deletions(recorded)

    def begin(state: Any, blocks: Any) -> tuple[Any, int]:
        """Return the state with the streams of private pools, and the first event; ``blocks`` are none yet."""
        return seed(state, [], [], private), 0

    return lambda: Hooks(begin=begin, look=Looks(deleted) if deleted else None)


def made(hooks: MakeHooks | None) -> Hooks:
    """Return new hooks for a replay; those that do nothing for None."""
    from memtrace.engine.replay import Hooks

    return hooks() if hooks is not None else Hooks()
