"""Figures to publish, drawn with matplotlib into axes of the user's own, or saved as PDF, SVG or PNG.

Each function of FIGURES draws one figure of Results into matplotlib Axes with ordinary artists: lines, bars and boxes, whose
axes, ticks and legend can be restyled as those of any plot. `figure` makes a whole figure of a given size. `save` writes it with
its text as text and its fonts embedded.

>>> figures.memory(results, ax=ax)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.units import BINARY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memtrace.results.tables import Results

Labels = Mapping[str, str]  # policy -> its name in the legend
MM = 25.4  # in an inch
COLUMNS = 2000  # points of a curve between which nobody could see a difference at any width
WIDE = 16  # times the least value of an option: from this on its scale is logarithmic
KINDS = ("pdf", "svg", "png")
# Style -> settings of matplotlib. Text stays text in vector files: a font of TrueType in PDF, names of fonts in SVG.
TEXT: dict[Any, Any] = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "memtrace", "savefig.dpi": 300}
PLAIN: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
STYLES: dict[str, dict[Any, Any]] = {
    "paper": {
        **PLAIN,
        "font.family": "serif",
        "font.size": 8,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.0,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
    },
    "screen": {**PLAIN, "font.family": "sans-serif", "font.size": 10},
}


def memory(
    results: Results,
    ax: Axes | None = None,
    *,
    trace: str | None = None,
    policies: Sequence[str] | None = None,
    labels: Labels | None = None,
) -> Axes:
    """Draw the reserved bytes of policies over the events of a trace, above the live bytes.

    ``ax`` are the axes to draw into, by default those of pyplot's current figure; they are returned. ``trace`` may be left out if
    there is one. ``policies`` are those to draw, by default all, the best first. ``labels`` map policies to their names in the
    legend. Raise UsageError for an unknown name.
    """
    from memtrace.drawing.style import LIVE, policy_colour, policy_dashes
    from memtrace.plots.series import curve

    name, chosen, ax = _asked(results, ax, trace, policies)
    curves = {policy: _timeline(results, name, policy) for policy in chosen}
    unit, scale = _unit(max(float(rows["reserved_bytes"].max()) for rows in curves.values()))
    longest = max(curves.values(), key=lambda rows: int(rows["event"][-1]))
    x, live = curve(longest["event"], longest["live_bytes"], COLUMNS)
    ax.fill_between(x, live / scale, color=LIVE, linewidth=0, label="live")
    for policy, rows in curves.items():
        x, y = curve(rows["event"], rows["reserved_bytes"], COLUMNS)
        ax.plot(x, y / scale, color=policy_colour(policy), linestyle=policy_dashes(policy), label=_label(policy, labels))
        if int(rows["event"][-1]) < int(longest["event"][-1]):  # it ran out of memory
            ax.plot(x[-1:], y[-1:] / scale, color=policy_colour(policy), marker="x", linestyle="none")
    return _finished(ax, "event", f"reserved ({unit})")


def difference(
    results: Results,
    ax: Axes | None = None,
    *,
    trace: str | None = None,
    policies: Sequence[str] | None = None,
    labels: Labels | None = None,
) -> Axes:
    """Draw what policies reserve beyond the first one, or beyond the best, over the events of a trace.

    It shows a close race, whose curves lie on each other in `memory`. The arguments are as those of `memory`.
    """
    import numpy

    from memtrace.drawing.style import policy_colour, policy_dashes

    name, chosen, ax = _asked(results, ax, trace, policies)
    base = _timeline(results, name, chosen[0])
    beyond = {}
    for policy in chosen[1:]:
        rows = _timeline(results, name, policy)
        events = numpy.union1d(base["event"], rows["event"])
        events = events[events <= min(base["event"][-1], rows["event"][-1])]
        reserved = (one["reserved_bytes"][numpy.searchsorted(one["event"], events, "right") - 1] for one in (rows, base))
        beyond[policy] = events, numpy.subtract(*(values.astype(float) for values in reserved))
    unit, scale = _unit(max((float(abs(values).max()) for _, values in beyond.values()), default=1.0))
    ax.axhline(0, color=policy_colour(chosen[0]), label=_label(chosen[0], labels))
    for policy, (events, values) in beyond.items():
        colour, dashes = policy_colour(policy), policy_dashes(policy)
        ax.step(events, values / scale, where="post", color=colour, linestyle=dashes, label=_label(policy, labels))
    return _finished(ax, "event", f"reserved beyond\n{_label(chosen[0], labels)} ({unit})")


def peaks(
    results: Results,
    ax: Axes | None = None,
    *,
    trace: str | None = None,
    policies: Sequence[str] | None = None,
    labels: Labels | None = None,
) -> Axes:
    """Draw a bar for the peak of reserved bytes of each policy on a trace, and the lower bound as a line.

    The arguments are as those of `memory`. The bar of a policy that ran out of memory, or refused requests, is hatched.
    """
    from memtrace.drawing.style import INK, policy_colour
    from memtrace.results.verdict import is_served, needed

    name, chosen, ax = _asked(results, ax, trace, policies)
    rows = {row["policy"]: row for row in results.summary if row["trace"] == name}
    unit, scale = _unit(max(needed(rows[policy]) for policy in chosen))
    for at, policy in enumerate(chosen):
        hatch = None if is_served(rows[policy]) else "////"
        ax.barh(at, needed(rows[policy]) / scale, color=policy_colour(policy), hatch=hatch, edgecolor="white", linewidth=0)
    ax.axvline(rows[chosen[0]]["peak_live_bytes"] / scale, color=INK, linestyle=":", label="lower bound (peak live)")
    ax.set_yticks(range(len(chosen)), [_label(policy, labels) for policy in chosen])
    ax.invert_yaxis()
    return _finished(ax, f"peak reserved ({unit})", "")


def ratios(
    results: Results,
    ax: Axes | None = None,
    *,
    trace: str | None = None,
    policies: Sequence[str] | None = None,
    labels: Labels | None = None,
) -> Axes:
    """Draw a box over all traces for each policy: what it needs over the lower bound.

    The arguments are as those of `memory`, but without ``trace`` all traces are drawn. Traces
    on which a policy failed are in no box, and are counted below its name.
    """
    from memtrace.results.standings import standings
    from memtrace.results.verdict import above_bound, is_served

    rows = results.summary if trace is None else [row for row in results.summary if row["trace"] == trace]
    ranked = [each.policy for each in standings(rows)]
    chosen, ax = _known(ranked, policies), _axes(ax)
    names, values = [], []
    for policy in chosen:
        own = [row for row in rows if row["policy"] == policy]
        found = [above_bound(row) for row in own if is_served(row)]
        failed = len(own) - len(found)
        values.append([value for value in found if value is not None])
        names.append(_label(policy, labels) + (f"\n{failed} of {len(own)} failed" if failed else ""))
    ax.boxplot(values, orientation="horizontal", widths=0.6, flierprops={"markersize": 3})
    ax.set_yticks(range(1, len(chosen) + 1), names)
    ax.invert_yaxis()
    return _finished(ax, "peak reserved\nover lower bound", "")


def capacities(
    results: Results,
    ax: Axes | None = None,
    *,
    trace: str | None = None,
    policies: Sequence[str] | None = None,
    labels: Labels | None = None,
) -> Axes:
    """Draw for each policy the share of the traces that it serves within each capacity of a sweep.

    The arguments are as those of `memory`, but ``trace`` is a name without the capacity, and without it all
    are counted. Raise UsageError if there are fewer than two capacities.
    """
    from memtrace.drawing.style import policy_colour, policy_dashes
    from memtrace.results.standings import standings
    from memtrace.results.verdict import is_served

    rows = [
        row for row in results.summary if row["capacity_bytes"] is not None and trace in (None, row["trace"].rpartition("@")[0])
    ]
    sizes = sorted({row["capacity_bytes"] for row in rows})
    if len(sizes) < 2:
        raise UsageError("there are no two capacities to draw\ntry: memtrace run TRACE --capacity 2GiB..8GiB/12")
    chosen, ax = _known([each.policy for each in standings(rows)], policies), _axes(ax)
    unit, scale = _unit(sizes[-1])
    for policy in chosen:
        served: dict[int, list[bool]] = defaultdict(list)
        for row in rows:
            if row["policy"] == policy:
                served[row["capacity_bytes"]].append(is_served(row))
        shares = [100 * sum(served[size]) / len(served[size]) for size in sorted(served)]
        colour, dashes = policy_colour(policy), policy_dashes(policy)
        where = [size / scale for size in sorted(served)]
        ax.plot(where, shares, color=colour, linestyle=dashes, marker="o", markersize=3, label=_label(policy, labels))
    ax.set_ylim(-3, 103)  # shares: none to all
    return _finished(ax, f"capacity ({unit})", "traces served (%)")


def options(
    results: Results,
    ax: Axes | None = None,
    *,
    trace: str | None = None,
    policies: Sequence[str] | None = None,
    labels: Labels | None = None,
    option: str | None = None,
) -> Axes:
    """Draw a line for each policy: what it needs over the lower bound, over the values of an option of a sweep.

    The value is the geometric mean over the traces that the policy served with all values of the option. ``policies`` and
    ``labels`` name policies without their options. ``option`` may be left out if one option with whole numbers was swept. Raise
    UsageError if none was.
    """
    from statistics import geometric_mean

    from memtrace.drawing.style import policy_colour
    from memtrace.results.parameters import parameters
    from memtrace.results.verdict import above_bound, is_served

    rows = [row for row in results.summary if trace in (None, row["trace"])]
    found = parameters(rows, results.manifest.get("traces", {}))
    swept = [name.partition(".")[2] for name in found if name.startswith("policy.") and name != "policy.name"]
    numbers = [name for name in swept if all(value is None or type(value) is int for value in found[f"policy.{name}"])]
    if option is None and len(numbers) != 1:
        said = f"name one of: {', '.join(numbers)}" if numbers else "no option with whole numbers was swept"
        raise UsageError(f"{said}\ntry: memtrace run TRACE -p 'best-fit:align=16|64|256'")
    chosen = numbers[0] if option is None else option
    if chosen not in numbers:
        raise unknown("swept option", chosen, numbers)
    ratio: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row, name, value in zip(rows, found["policy.name"], found[f"policy.{chosen}"], strict=True):
        above = above_bound(row) if is_served(row) else None
        if value is not None and above is not None:
            ratio[name][value][row["trace"]] = above
    ax = _axes(ax)
    lines = [name for name, values in ratio.items() if len(values) > 1]  # a policy with one value was not swept
    for name in _known(lines, policies):
        common = set.intersection(*(set(each) for each in ratio[name].values()))
        values = sorted(ratio[name]) if common else []
        means = [geometric_mean(ratio[name][value][each] for each in common) for value in values]
        ax.plot(values, means, color=policy_colour(name), marker="o", markersize=3, label=_label(name, labels))
    everywhere = [value for name in lines for value in ratio[name]]
    if everywhere and min(everywhere) > 0 and max(everywhere) >= WIDE * min(everywhere):
        ax.set_xscale("log", base=2)
    return _finished(ax, chosen, "peak reserved\nover lower bound")


FIGURES: dict[str, Callable[..., Axes]] = {
    each.__name__: each for each in (memory, difference, peaks, ratios, capacities, options)
}


def figure(
    results: Results,
    name: str,
    *,
    width: float = 85.0,
    height: float | None = None,
    style: str = "paper",
    settings: Mapping[Any, Any] | None = None,
    **how: Any,
) -> Figure:
    """Return the matplotlib figure of this name in FIGURES, ``width`` by ``height`` millimetres, by default 3/4 as high as wide.

    ``settings`` are rcParams of matplotlib that change the style. ``how`` goes to the function of the figure, but for ``title``,
    a text above it. The legend stands below the axes, with as many columns as fit. Raise UsageError for an unknown name or style.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Made

    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    if style not in STYLES:
        raise unknown("style", style, STYLES)
    title = how.pop("title", None)
    with matplotlib.rc_context({**TEXT, **STYLES[style], **(settings or {})}):
        made = Made(figsize=(width / MM, (height or 0.75 * width) / MM), layout="constrained")
        FigureCanvasAgg(made)
        ax = FIGURES[name](results, made.add_subplot(), **how)
        if title:
            ax.set_title(title)
        _legend_below(made, ax)
    return made


def save(made: Figure, path: str | Path) -> Path:
    """Write a figure as PDF, SVG or PNG, as the path ends, and return the path; equal figures give equal bytes.

    Raise UsageError for another ending, InputError if the file cannot be written.
    """
    import io

    import matplotlib

    from memtrace.drawing.saving import write_whole

    target = Path(path)
    kind = target.suffix[1:].lower()
    if kind not in KINDS:
        raise UsageError(f"{target}: a figure is written as .pdf, .svg or .png")
    content = io.BytesIO()
    undated: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    with matplotlib.rc_context(TEXT):
        made.savefig(content, format=kind, metadata=undated[kind])
    return write_whole(target, content.getvalue())


def _legend_below(made: Figure, ax: Axes) -> None:
    """Put the legend of the axes below them, in as many columns as fit into the figure's width."""
    handles, names = ax.get_legend_handles_labels()
    own = ax.get_legend()
    if own is not None:
        own.remove()
    for columns in range(min(4, len(handles)), 0, -1):
        legend = made.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=1.5, columnspacing=1.0)
        if columns == 1 or legend.get_window_extent().width <= made.bbox.width:
            return
        legend.remove()


def _asked(results: Results, ax: Axes | None, trace: str | None, policies: Sequence[str] | None) -> tuple[str, list[str], Axes]:
    """Return the trace, the policies, the best first if none are named, and the axes to draw into."""
    from memtrace.plots.series import summary

    traces = results.traces()
    if trace is None and len(traces) > 1:
        raise UsageError(
            f"there are {len(traces)} traces; name one of: {', '.join(traces[:8])}{', ...' if len(traces) > 8 else ''}"
        )
    name = traces[0] if trace is None else trace
    if name not in traces:
        raise unknown("trace", name, traces)
    return name, _known([row["policy"] for row in summary(results, name)], policies), _axes(ax)


def _known(all_of_them: Sequence[str], policies: Sequence[str] | None) -> list[str]:
    """Return the policies that are named, or all. Raise UsageError for one that was not replayed."""
    for policy in policies or ():
        if policy not in all_of_them:
            raise unknown("policy", policy, all_of_them)
    return list(policies or all_of_them)


def _axes(ax: Axes | None) -> Axes:
    """Return the axes, or those of pyplot's current figure if none are given."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.gca()


def _timeline(results: Results, trace: str, policy: str) -> Mapping[str, Any]:
    """Return the columns of the timeline of a policy. Raise UsageError if there are none, as in the folder of a whole suite."""
    rows = results.rows("timeline", trace, policy)
    if not rows["event"].size:
        raise UsageError(f"there is no timeline of {policy} on {trace}; of a suite, name the folder of one trace")
    return rows


def _unit(most: float) -> tuple[str, int]:
    """Return the binary unit in which a number of bytes is 1 or more, and its bytes."""
    return next(((name, scale) for name, scale in reversed(BINARY.items()) if most >= scale), ("B", 1))


def _label(policy: str, labels: Labels | None) -> str:
    """Return what the legend calls a policy."""
    return (labels or {}).get(policy, policy)


def _finished(ax: Axes, across: str, up: str) -> Axes:
    """Name the axes, add a legend if something has a label, and return the axes."""
    ax.set_xlabel(across)
    ax.set_ylabel(up)
    if ax.get_legend_handles_labels()[0]:
        ax.legend()
    return ax
