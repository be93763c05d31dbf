"""The backward pass: gradients of activations and parameters, and when what was kept is let go.

In the order of PyTorch's eager mode: a matrix's gradient of its input, of its weights, of its bias with the workspace of
that sum, then the kept input is freed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtrace.workloads.transformer.forward import Forward, Saved
from memtrace.workloads.transformer.setup import FLOAT, TEMPORARY, WORKSPACE, Setup, Sizes
from memtrace.workloads.transformer.tape import Tape

Gradient = Callable[[str], None]  # makes the gradient of a parameter of the block, or adds to it

UNSORTED = 3072  # tokens up to which the token table's gradient is summed without sorting (PyTorch)
NORMS = {"gpt": ("", ".bias"), "llama": ("",)}


class Backward:
    """Writes backward passes to a tape."""

    def __init__(self, tape: Tape, setup: Setup, forward: Forward) -> None:
        self.tape, self.setup, self.forward = tape, setup, forward
        self.biased = setup.model.arch == "gpt"

    def block(self, sizes: Sizes, saved: Saved, dy: int, gradient: Gradient) -> int:
        """The gradient of the block's input, into which that of its output was turned; frees all that was kept."""
        tape, llama = self.tape, self.setup.model.arch == "llama"
        d = self._undrop(sizes, saved, "drop2", dy)
        d = self._gated(sizes, saved, d, dy, gradient) if llama else self._gelu(sizes, saved, d, dy, gradient)
        dy = self._norm(sizes, saved, "norm2", "middle", d, dy, gradient)
        d = self._undrop(sizes, saved, "drop1", dy)
        dcontext = tape.alloc(sizes.context, TEMPORARY)
        self._weights(sizes, "proj", self.setup.model.hidden, gradient)
        if d != dy:
            tape.free(d)
        self._core_again(sizes, saved)
        dqkv = self._attention(sizes, saved, dcontext)
        d = self._qkv(sizes, saved, dqkv, gradient)
        return self._norm(sizes, saved, "norm1", "x", d, dy, gradient)

    def _undrop(self, sizes: Sizes, saved: Saved, name: str, dy: int) -> int:
        if name not in saved:
            return dy
        d = self.tape.alloc(sizes.outer, TEMPORARY)
        self.tape.free(saved.pop(name))
        return d

    def _weights(self, sizes: Sizes, name: str, outputs: int, gradient: Gradient) -> None:
        """Gradients of a matrix and its bias; the bias's is a sum over all tokens, in two stages."""
        gradient(name)
        if self.biased:
            gradient(f"{name}.bias")
            partial = self.tape.alloc(sizes.tokens * outputs * 8, WORKSPACE)
            self.tape.brief(max(4, outputs // 32), WORKSPACE)
            self.tape.free(partial)

    def _gathered(self, sizes: Sizes) -> list[int]:
        """The kept part of a sequence, gathered again for the gradient of the weights."""
        return [self.tape.alloc(sizes.hidden, WORKSPACE)] if sizes.split > 1 else []

    def _gelu(self, sizes: Sizes, saved: Saved, d: int, dy: int, gradient: Gradient) -> int:
        tape, model, shards = self.tape, self.setup.model, self.setup.shards
        dgelu = tape.alloc(sizes.ffn, TEMPORARY)
        self._weights(sizes, "down", model.hidden, gradient)
        if d != dy:
            tape.free(d)
        tape.free(saved.pop("gelu"))
        dup = tape.alloc(sizes.ffn, TEMPORARY)
        tape.free(dgelu, saved.pop("up"))
        gathered = self._gathered(sizes)
        dnormed = tape.alloc(sizes.outer, TEMPORARY)
        self._weights(sizes, "up", model.ffn // shards, gradient)
        tape.free(*gathered, dup, saved.pop("norm2"))
        return dnormed

    def _gated(self, sizes: Sizes, saved: Saved, d: int, dy: int, gradient: Gradient) -> int:
        tape, model = self.tape, self.setup.model
        dproduct = tape.alloc(sizes.ffn, TEMPORARY)
        self._weights(sizes, "down", model.hidden, gradient)
        if d != dy:
            tape.free(d)
        tape.free(saved.pop("product"))
        dsilu, dup = tape.alloc(sizes.ffn, TEMPORARY), tape.alloc(sizes.ffn, TEMPORARY)
        tape.free(dproduct, saved.pop("silu"), saved.pop("up"))
        gathered = self._gathered(sizes)
        dnormed = tape.alloc(sizes.outer, TEMPORARY)
        self._weights(sizes, "up", model.ffn, gradient)
        tape.free(dup)
        dgate = tape.alloc(sizes.ffn, TEMPORARY)
        tape.free(dsilu, saved.pop("gate"))
        more = tape.alloc(sizes.outer, TEMPORARY)
        self._weights(sizes, "gate", model.ffn, gradient)
        tape.free(*gathered, dgate, more, saved.pop("norm2"))
        return dnormed

    def _norm(self, sizes: Sizes, saved: Saved, name: str, source: str, d: int, dy: int, gradient: Gradient) -> int:
        """A norm's gradient, added to that of the residual stream in place."""
        tape = self.tape
        dx = self.norm(sizes, saved, name, source, d, gradient)
        tape.free(dx)
        return dy

    def norm(self, sizes: Sizes, saved: Saved, name: str, source: str, d: int, gradient: Gradient) -> int:
        """The gradient of a norm's input; frees what it kept and the gradient of its output."""
        tape = self.tape
        dx = tape.alloc(sizes.outer, TEMPORARY)
        for part in NORMS[self.setup.model.arch]:
            gradient(name + part)
        tape.free(d, saved.pop(source))
        tape.free(*(saved.pop(f"{name}.{part}") for part in ("mean", "deviation") if f"{name}.{part}" in saved))
        return dx

    def _core_again(self, sizes: Sizes, saved: Saved) -> None:
        """Selective recomputation: what lies between the queries and the context is computed again."""
        if self.setup.checkpointing == "selective":
            self.forward.attention(sizes, saved, core=True, keep=True)

    def _attention(self, sizes: Sizes, saved: Saved, dcontext: int) -> int:
        """The gradient of queries, keys and values, in one block for gpt."""
        gradients = self._flash(sizes, saved, dcontext) if self.setup.flash else self._math(sizes, saved, dcontext)
        if self.setup.model.arch == "llama":
            self.tape.free(saved.pop("q"), saved.pop("k"), saved.pop("v"))
            return self._unrotated(sizes, gradients)
        stacked = self.tape.alloc(sizes.qkv, TEMPORARY)
        self.tape.free(*gradients)
        found = self.tape.alloc(sizes.qkv, TEMPORARY)
        self.tape.free(stacked)
        return found

    def _unrotated(self, sizes: Sizes, gradients: list[int]) -> int:
        """Back through the rotation; all three are gathered in one block here, as nothing reads them singly but the matrices."""
        found = self.tape.alloc(sizes.qkv, TEMPORARY)
        self.tape.free(*gradients)
        return found

    def _flash(self, sizes: Sizes, saved: Saved, dcontext: int) -> list[int]:
        tape = self.tape
        gradients = [tape.alloc(size, TEMPORARY) for size in (sizes.context, sizes.keys, sizes.keys)]
        product = tape.alloc(sizes.context, TEMPORARY)
        rows = [tape.alloc(sizes.softmax_sums, TEMPORARY) for _ in range(2)]
        tape.free(rows[0], product)
        workspace = tape.alloc(sizes.attention_workspace, WORKSPACE)
        tape.free(rows[1], workspace, dcontext)
        if "qkv" in saved:
            tape.free(saved.pop("qkv"))
        tape.free(*(saved.pop(part) for part in ("sums", "context", "offset", "seed")))
        return gradients

    def _math(self, sizes: Sizes, saved: Saved, dcontext: int) -> list[int]:
        tape = self.tape
        dvalues = tape.alloc(sizes.keys, TEMPORARY)
        dprobabilities = tape.alloc(sizes.scores, TEMPORARY)
        tape.free(dcontext, saved.pop("context"))
        if "dropped" in saved:
            tape.free(saved.pop("dropped"))
            undropped = tape.alloc(sizes.scores, TEMPORARY)
            tape.free(dprobabilities, saved.pop("drop0"))
            dprobabilities = undropped
        dscores = tape.alloc(sizes.scores, TEMPORARY)
        tape.free(dprobabilities, saved.pop("softmax"))
        dqueries, dkeys = tape.alloc(sizes.context, TEMPORARY), tape.alloc(sizes.keys, TEMPORARY)
        tape.free(dscores)
        if "qkv" in saved:
            tape.free(saved.pop("qkv"))
        return [dqueries, dkeys, dvalues]

    def _qkv(self, sizes: Sizes, saved: Saved, dqkv: int, gradient: Gradient) -> int:
        tape, model, shards = self.tape, self.setup.model, self.setup.shards
        gathered = self._gathered(sizes)
        d = tape.alloc(sizes.outer, TEMPORARY)
        if self.biased:
            self._weights(sizes, "qkv", (model.hidden + 2 * model.kv_width) // shards, gradient)
        else:
            gradient("q")
            for part in ("k", "v"):
                more = tape.alloc(sizes.outer, TEMPORARY)
                gradient(part)
                tape.free(more)
        tape.free(*gathered, dqkv, saved.pop("norm1"))
        return d

    def loss(self, sizes: Sizes, saved: dict[str, Any], normed: int, gradient: Gradient) -> int:
        """From the loss to the gradient of the last norm's output; the loss itself stays until it is read."""
        tape, setup = self.tape, self.setup
        dpicked = tape.alloc(sizes.float_logits, TEMPORARY)
        tape.free(saved.pop("weight"))
        dlogits = tape.alloc(sizes.float_logits, TEMPORARY)
        tape.free(dpicked, saved.pop("softmax"))
        if setup.mixed:
            half = tape.alloc(sizes.logits, TEMPORARY)
            tape.free(dlogits)
            dlogits = half
        gradient("tokens" if setup.model.tied else "head")
        d = tape.alloc(sizes.outer, TEMPORARY)
        tape.free(dlogits, normed)
        return d


def sorted_embedding_gradient(tape: Tape, sizes: Sizes, setup: Setup, gradient: Gradient) -> None:
    """The dense gradient of the token table: tokens are sorted, then summed by segments (PyTorch's embedding_dense_backward)."""
    tokens, width = sizes.tokens, setup.model.hidden
    keys = [tape.alloc(sizes.indices, WORKSPACE) for _ in range(2)]
    order = tape.alloc(sizes.indices, WORKSPACE)
    tape.brief(16 * tokens + 6655, WORKSPACE)
    tape.free(order)
    gradient("tokens")
    counts = [tape.alloc(sizes.indices, WORKSPACE), tape.alloc(8, WORKSPACE)]
    offsets = tape.alloc(sizes.indices, WORKSPACE)
    tape.brief(1279, WORKSPACE)
    tape.free(offsets)
    segments = [tape.alloc(sizes.indices, WORKSPACE) for _ in range(2)]
    tape.brief(1279, WORKSPACE)
    total = tape.alloc(8, WORKSPACE)
    most = -(-tokens // 10) + tokens - 1  # partial segments of at most ten rows
    partial = tape.alloc(most * 8, WORKSPACE)
    tape.brief(most * -(-width // 32) * 32 * FLOAT, WORKSPACE)
    tape.free(partial, total, segments[1], segments[0], counts[1], counts[0], keys[1], keys[0])
