"""A suite: traces x policies with gates, from a file, replayed here or on other machines.

`load` reads the file, `plan` looks at the traces, `replay_cells` replays what is not finished, `write` writes the results.
"""

from memtrace.suite.config import Suite, load
from memtrace.suite.planning import Plan, plan
from memtrace.suite.replaying import Ran, replay_cells
from memtrace.suite.writing import write

__all__ = ["Plan", "Ran", "Suite", "load", "plan", "replay_cells", "write"]
