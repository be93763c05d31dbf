"""The command `memtrace plot`, which draws one figure of a results folder to publish."""

from __future__ import annotations

import re
from typing import Any

import click

from memtrace.cli import report_options
from memtrace.cli.options import option
from memtrace.cli.terminal import echo
from memtrace.errors import UsageError

MILLIMETRES = {"mm": 1.0, "cm": 10.0, "in": 25.4, "pt": 25.4 / 72}


def length(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return a text such as 85mm, 8.5cm, 3.4in or 240pt in millimetres. Raise UsageError if it is none."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(mm|cm|in|pt)", text)
    if found is None or not 10 <= float(found[1]) * MILLIMETRES[found[2]] <= 2000:
        raise UsageError(f"{parameter.opts[-1]}: {text!r} is no length from 10mm to 2000mm; write 85mm, 8.5cm, 3.4in or 240pt")
    return float(found[1]) * MILLIMETRES[found[2]]


@click.command()
@click.argument("folder", required=False, metavar="[DIR]")
@click.argument("name", required=False, metavar="[FIGURE]")
@option("output", help="The file to write; its ending, .pdf, .svg or .png, says which kind.")
@click.option("--width", callback=length, default="85mm", show_default=True, metavar="LENGTH", help="In mm, cm, in or pt.")
@click.option("--height", callback=length, metavar="LENGTH", help="By default three quarters of the width.")
@click.option("--style", default="paper", show_default=True, metavar="NAME", help="paper (serif, 8 pt) or screen.")
@click.option("--font", metavar="NAME", help="Family of the font, such as 'Times New Roman' or serif.")
@click.option("--font-size", type=click.FloatRange(3, 72), metavar="POINTS", help="Size of the text.")
@click.option("--policies", metavar="A,B", help="The policies to draw, in this order; by default all, the best first.")
@click.option("--label", "labels", multiple=True, metavar="POLICY=TEXT", help="What the figure calls a policy. Repeatable.")
@click.option("--trace", metavar="NAME", help="The trace, if the folder has several.")
@click.option("--option", "swept", metavar="NAME", help="The option of a sweep that the figure `options` is over.")
@click.option("--title", default="none", show_default=True, metavar="TEXT", help="A title above the figure, or none.")
@report_options
def plot(
    folder: str | None,
    name: str | None,
    output: str | None,
    labels: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: int,
    **how: Any,
) -> None:
    """Draw FIGURE of a results folder, to publish; without FIGURE list the figures.

    Vector files have their text as text, and PDF embeds its fonts.

    \b
    Examples:
      memtrace plot reports/trace memory -o fig.pdf --width 85mm
      memtrace plot reports/trace peaks -o fig.svg --policies best-fit,tlsf --label 'tlsf=TLSF'
    """
    from memtrace.figures import FIGURES, figure, save
    from memtrace.results.calls import load

    if folder is None or name is None:
        show_figures(FIGURES, as_json)
        return
    if output is None:
        raise UsageError(f"where to?\ntry: memtrace plot {folder} {name} -o {name}.pdf")
    results = load(folder)
    labelled = [row["policy"] for row in results.summary]
    known = list(dict.fromkeys([*labelled, *(label.partition(":")[0] for label in labelled)]))
    font = {"font.family": how.pop("font"), "font.size": how.pop("font_size")}
    chosen = how.pop("policies")
    title = how.pop("title")
    if (swept := how.pop("swept")) is not None:
        how["option"] = swept
    made = figure(
        results,
        name,
        settings={key: value for key, value in font.items() if value is not None},
        policies=None if chosen is None else named(chosen, known),
        labels=dict(pair(text, known) for text in labels),
        title=None if title == "none" else title,
        **how,
    )
    written = save(made, output)
    if as_json:
        from memtrace.cli.output import echo_json

        echo_json({"schema": "memtrace.plot/1", "file": str(written), "bytes": written.stat().st_size})
    elif not quiet:
        echo(f"wrote {written}: {written.stat().st_size:,} bytes", err=True)


def show_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Print the name of each figure and what it shows."""
    from memtrace.cli.output import echo_json, print_table

    lines = [(name, (draw.__doc__ or "").partition("\n")[0]) for name, draw in figures.items()]
    if as_json:
        echo_json({"schema": "memtrace.figures/1", "figures": dict(lines)})
        return
    print_table(("figure", "what is drawn"), lines, words=(0, 1))


def named(text: str, known: list[str]) -> list[str]:
    """Return the policies in a list with commas; labels may have commas of their own, so the longest known label counts."""
    parts, found = text.split(","), []
    while parts:
        end = next((n for n in range(len(parts), 0, -1) if ",".join(parts[:n]).strip() in known), 1)
        found.append(",".join(parts[:end]).strip())
        parts = parts[end:]
    return found


def pair(text: str, known: list[str]) -> tuple[str, str]:
    """Return the policy and the label of POLICY=LABEL, where the policy may have = in its options.

    Raise UsageError if it is none.
    """
    found = max((policy for policy in known if text.startswith(f"{policy}=")), key=len, default=None)
    if found is None:
        raise UsageError(f"--label: {text!r} is not POLICY=TEXT of a policy that was replayed: {', '.join(known[:8])}")
    return found, text[len(found) + 1 :]
