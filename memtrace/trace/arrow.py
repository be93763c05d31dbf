"""Use pyarrow without pandas, in processes of the command line."""

from __future__ import annotations

import sys


class _Refusal:
    """A finder of modules that finds no pandas."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ImportError for pandas, and leave any other module to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def leave_out_pandas() -> None:
    """Have pyarrow not import pandas, unless this process has it already; `to_pandas` imports it even so.

    At its first conversion in a process pyarrow imports pandas if there is one, only to ask whether a value is of pandas. That
    takes a fifth of a second. If the import fails then, pyarrow does not try again for this question.
    """
    if "pandas" in sys.modules:
        return
    refusal = _Refusal()
    sys.meta_path.insert(0, refusal)
    try:
        import pyarrow

        pyarrow.array([0])
    finally:
        sys.meta_path.remove(refusal)
