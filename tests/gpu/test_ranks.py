"""Several snapshots at once: a line a rank, the worst first, what differs, and one setting for all."""

from __future__ import annotations

import json

from conftest import Run
from sample_snapshots import GPU

from memtrace.gpu.answer import Question, whatif
from memtrace.gpu.ranks import ALL, ranks_of, together

PATHS = [str(GPU / f"{name}.pickle.gz") for name in ("flushes", "thrash", "midrun_gain")]


def test_the_worst_is_first_and_one_setting_is_for_all() -> None:
    found = ranks_of(PATHS, Question())
    assert [one.name.partition(".")[0] for one in found.ranks] == ["thrash", "flushes", "midrun_gain"]
    assert found.line == "PYTORCH_ALLOC_CONF=expandable_segments:True"
    best = found.rows[0]
    own = [next(row for row in one.answer.rows if row.conf == best.conf) for one in found.ranks]
    assert (best.flushes, best.ooms) == (sum(row.flushes or 0 for row in own), 0)
    assert best.peak_reserved == max(row.peak_reserved or 0 for row in own)


def test_only_settings_that_all_ranks_have_are_compared() -> None:
    one = whatif(PATHS[0], confs=("", "expandable_segments:True"))
    other = whatif(PATHS[1], confs=("", "roundup_power2_divisions:4"))
    assert [row.conf for row in together([one, other])] == [""]


def test_the_devices_of_a_file_are_ranks_too(memtrace: Run) -> None:
    path = GPU / "three_devices_oom.pickle.gz"
    found = ranks_of([str(path)], Question(device=ALL))
    assert [one.answer.device for one in found.ranks] == [1, 0, 2] and found.line is None
    done = json.loads(memtrace("whatif", path, "--device", "all", "--json").stdout)
    assert [one["device"] for one in done["ranks"]] == [1, 0, 2] and done["schema"] == "memtrace.whatif-ranks/1"


def test_the_screen(memtrace: Run) -> None:
    done = memtrace("whatif", *PATHS)
    lines = done.stdout.splitlines()
    assert lines[0] == "3 ranks, worst first" and all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines[3:6]] == ["thrash.pickle.gz", "flushes.pickle.gz", "midrun_gain.pickle.gz"]
    assert any(line.startswith("the live bytes differ: 786.0 MiB to 1.6 GiB, the most on flushes") for line in lines)
    assert "PYTORCH_ALLOC_CONF=expandable_segments:True" in lines
