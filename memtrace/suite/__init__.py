"""A suite: a file that names traces, policies and gates, replayed on this machine or on others.

`load` reads the file, `plan` turns it into cells (a trace and a policy each), `replay_cells` replays the cells that are
not finished yet, and `write` writes the results.
"""

from memtrace.suite.config import Suite, load
from memtrace.suite.dispatch import ReplayOutcome, replay_cells
from memtrace.suite.planning import Plan, plan
from memtrace.suite.store import write

__all__ = ["Plan", "ReplayOutcome", "Suite", "load", "plan", "replay_cells", "write"]
