"""A placement -> its part of every results table, as plain columns that travel between processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

Columns = dict[str, Any]
# What only a policy that shows its holes can say.
HOLES = ("free_bytes", "holes", "largest_hole_bytes", "external_frag", "squares_frag")
