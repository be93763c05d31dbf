"""The plug-in of pytest: the marker `memtrace`, the fixture `memtrace_record`, and the baseline of all tests.

pytest imports this module for each run, so it imports nothing else of memtrace before a test asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from memtrace.testing.recorder import Recorder

MARKER, FIXTURE = "memtrace", "memtrace_record"
WHAT = "memtrace(fail_if, policies=..., capacity=..., record=...): record the test's allocations, and fail if a gate does"
NEW_ROWS = pytest.StashKey[list[dict[str, Any]]]()  # of the recordings of this process, for the baseline
RECORDER = pytest.StashKey["Recorder"]()  # of a test
SENT = "memtrace_rows"  # the rows of a worker of xdist, in what it sends at its end


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the option that writes the baseline, and the settings of where things lie."""
    leave_asserts(getattr(pluginmanager, "rewrite_hook", None))
    group = parser.getgroup("memtrace", "gates on what tests allocate")
    group.addoption(
        "--memtrace-update-baseline", action="store_true", help="Write the rows of this run's recordings into the baseline."
    )
    parser.addini("memtrace_baseline", "the CSV file that gates compare with", default="memtrace-tests.csv")
    parser.addini("memtrace_output", "the folder for recordings and reports of tests that fail", default=".memtrace/pytest")


def leave_asserts(hook: Any) -> None:
    """Have pytest leave the asserts of memtrace as they are; ``hook`` imports modules with asserts that explain themselves.

    It takes all modules of a distribution with a plug-in. Those of memtrace would be other code than at the command line, and be
    compiled again. pytest has no public way to say so; where its private one is gone, that is what happens.
    """
    if isinstance(names := getattr(hook, "_must_rewrite", None), set):
        names.discard("memtrace")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", WHAT)
    config.stash[NEW_ROWS] = []


@pytest.fixture
def memtrace_record(request: pytest.FixtureRequest) -> Recorder:
    """Return the recorder of this test: `native(command)`, and the blocks `python()` and `torch()`, each of which makes a trace.

    The gates of the marker `memtrace` hold for all traces that the test makes.
    """
    return recorder_of(request.node)


def recorder_of(item: pytest.Item) -> Recorder:
    """Return the recorder of a test, made on its first use."""
    if RECORDER not in item.stash:
        from memtrace.testing.recorder import Recorder, Wanted

        marker = item.get_closest_marker(MARKER)
        wanted = Wanted.of(() if marker is None else marker.args, {} if marker is None else marker.kwargs)
        root, config = item.config.rootpath, item.config
        item.stash[RECORDER] = Recorder(
            test=item.nodeid,
            wanted=wanted,
            folder=root / config.getini("memtrace_output"),
            baseline=root / config.getini("memtrace_baseline"),
            is_updating=config.getoption("memtrace_update_baseline"),
        )
    return item.stash[RECORDER]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Record a marked test, and judge its traces when it has passed."""
    if pyfuncitem.get_closest_marker(MARKER) is None and FIXTURE not in pyfuncitem.fixturenames:
        return (yield)
    from memtrace.errors import MemtraceError

    try:
        recorder = recorder_of(pyfuncitem)
        with recorder.whole_test():
            result = yield
        said = recorder.judge()
    except MemtraceError as error:
        pytest.fail(f"memtrace: {error}", pytrace=False)
    pyfuncitem.config.stash[NEW_ROWS].extend(recorder.rows_to_keep())
    if said is not None:
        pyfuncitem.user_properties.append(("memtrace_report", str(recorder.report)))
        pytest.fail(said, pytrace=False)
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the baseline if that was asked for; a worker of xdist sends its rows to the process that writes."""
    config = session.config
    rows = config.stash.get(NEW_ROWS, [])
    if hasattr(config, "workeroutput"):
        config.workeroutput[SENT] = json.dumps(rows)
    elif rows and config.getoption("memtrace_update_baseline"):
        from memtrace.testing.recorder import update_baseline

        update_baseline(Path(config.rootpath / config.getini("memtrace_baseline")), rows)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take the rows that a worker of xdist sends."""
    node.config.stash[NEW_ROWS].extend(json.loads(getattr(node, "workeroutput", {}).get(SENT, "[]")))
