"""Writes docs/python.md from the signatures and docstrings of the public names: ``python -m docs.python``."""

import inspect
import re
from pathlib import Path

import memtrace

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Python

The public names of the package, by what they are for. This page is written by `make docs`. `import memtrace` loads nothing heavy;
each name is imported when it is first used.

```python
import memtrace

results = memtrace.run("traces/gpt-6x512-fp32.csv", ["best-fit", "first-fit"])  # also the path of your own policy, mine.py
frame = results.to_pandas()  # a row for each trace and policy
best = frame.sort_values("peak_reserved_bytes").policy.iloc[0]
placement = memtrace.replay(memtrace.read("traces/gpt-6x512-fp32.csv"), best, interpret=True)
assert memtrace.measure(placement)["peak_reserved_bytes"] == frame.peak_reserved_bytes.min()
```

A notebook shows results as ranked tables. [figures.md](figures.md) has figures, [policies.md](policies.md) policies made of
functions.
"""
ORDER = ("read", "run", "load", "replay", "measure", "policy", "Heap", "compare", "whatif", "Trace", "Placement", "Results")
MODULES = {"figures": "figures.md", "torch": "tutorial-gpu.md"}  # public modules, and the page that explains each


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD, *(section(name) for name in ORDER), "## Modules\n"]
    parts += [
        f"- `memtrace.{name}`: {first_line(getattr(memtrace, name))} [{target}]({target})" for name, target in MODULES.items()
    ]
    return "\n".join(parts) + "\n"


def section(name: str) -> str:
    """Return the section of a public name; of a class with its public methods and properties."""
    value = getattr(memtrace, name)
    text = [f"## memtrace.{name}\n"]
    if not inspect.isclass(value) or name == "Heap":
        text.append(f"```text\n{name}{signature(value)}\n```\n")
    text.append(f"{documented(value)}\n")
    if inspect.isclass(value):
        for key, each in vars(value).items():
            function = each.fget if isinstance(each, property) else each
            if not key.startswith("_") and inspect.isfunction(function) and inspect.getdoc(function):
                text.append(f"- `{key}{'' if isinstance(each, property) else signature(each)}`: {first_line(function)}")
        text.append("")
    return "\n".join(text)


def signature(value: object) -> str:
    """Return a signature without quotes around annotations and without self."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(value)))  # type: ignore[arg-type]
    text = re.sub(r'(: |-> )"([^"]*)"', r"\1\2", text)
    return re.sub(
        r"<[\w.]+\.(\w+) object at 0x\w+>|(Hooks)\(.*?\)\)?", r"\1\2(...)", text.replace("(self, ", "(").replace("(self)", "()")
    )


def documented(value: object) -> str:
    """Return a docstring as text of the page; its examples become code."""
    return re.sub(r"^>>> (.*)$", r"    >>> \1", inspect.getdoc(value) or "", flags=re.MULTILINE).replace("``", "`")


def first_line(value: object) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(value) or "").partition("\n")[0].replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
