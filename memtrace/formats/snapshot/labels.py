"""Add what the program said about itself to the sites of a recording: annotations, user metadata, and compiled regions."""

from __future__ import annotations

import numpy as np

from memtrace.formats.snapshot.records import Site
from memtrace.formats.snapshot.tree import Tree, Values
from memtrace.trace.model import Int32s, Int64s

NOTHING = ("", "N/A")  # texts that say nothing
LABELS = ("user_metadata", "compile_context")  # keys of events
MISSING = -1


def labelled(tree: Tree, device: int, events: Values, numbers: Int32s, sites: list[Site]) -> Int32s:
    """Return the site of each event of a device with its labels; sites with labels are appended to ``sites``.

    ``numbers``: the index of each event's site, -1 for none. An event's labels are the innermost annotation around it, its
    user_metadata, and its compile_context.
    """
    keys = [key for key in LABELS if tree.key(key) is not None]
    if not keys and tree.key("external_annotations") is None:
        return numbers
    names, annotation = annotations_around(tree, device, tree.numbers(tree.column(events, "time_us"), MISSING))
    texts = [_said(tree, tree.text_codes(tree.column(events, key))) for key in keys]
    if not names and not any((codes >= 0).any() for codes in texts):
        return numbers
    rows = np.stack((numbers.astype(np.int64), annotation, *texts), axis=1)
    with_labels = np.flatnonzero((rows[:, 1:] >= 0).any(axis=1))
    if not with_labels.size:
        return numbers
    unique, inverse = np.unique(rows[with_labels], axis=0, return_inverse=True)
    found = numbers.copy()
    found[with_labels] = len(sites) + inverse.reshape(-1)
    for site, name, *codes in unique.tolist():
        labels = [names[name]] if name >= 0 else []
        labels += [tree.text(code) for code in codes if code >= 0]
        base = sites[site] if site >= 0 else Site("", "", 0, "")
        sites.append(base._replace(tag=f"{base.tag} [{', '.join(labels)}]".strip()))
    return found


def _said(tree: Tree, codes: Int64s) -> Int64s:
    """Return codes of texts with those that say nothing replaced by -1."""
    there = np.flatnonzero(np.bincount(codes + 1)) - 1
    kept = np.full(int(there.max(initial=-1)) + 2, MISSING)  # the last is for -1, no text
    said = [code for code in there.tolist() if code >= 0 and tree.text(code) not in NOTHING]
    kept[said] = said
    found: Int64s = kept[codes]
    return found


def annotations_around(tree: Tree, device: int, times: Int64s) -> tuple[list[str], Int64s]:
    """Return the names of annotations, and for each time in microseconds the index of the innermost one around it, or -1."""
    marks = tree.items(tree.get(tree.root, "external_annotations"))
    marks = marks[tree.numbers(tree.column(marks, "device"), device) == device] if marks.size else marks
    found = np.full(times.size, -1, np.int64)
    if not marks.size or not times.size:
        return [], found
    at = tree.numbers(tree.column(marks, "time_us"), MISSING)
    codes = tree.text_codes(tree.column(marks, "name"))
    stages = tree.text_codes(tree.column(marks, "stage"))
    starts = {code for code in np.unique(stages).tolist() if code >= 0 and tree.text(code) == "START"}
    names: dict[int, int] = {}
    open_ones: list[int] = []
    inside = np.full(marks.size + 1, -1, np.int64)  # the innermost annotation from each mark to the next
    order = np.argsort(at, kind="stable")
    for i, mark in enumerate(order.tolist(), start=1):
        code = int(codes[mark])
        if int(stages[mark]) in starts:
            open_ones.append(code)
        elif code in open_ones:
            del open_ones[len(open_ones) - 1 - open_ones[::-1].index(code)]
        inside[i] = names.setdefault(open_ones[-1], len(names)) if open_ones and open_ones[-1] >= 0 else -1
    found = inside[np.searchsorted(at[order], times, side="right")]
    return [tree.text(code).strip("# ") for code in names], found
