"""Write the backward pass to a tape: gradients of activations and parameters, and when the kept activations are freed.

The order is that of PyTorch's eager mode: a matrix's gradient of its input, of its weights, of its bias with the workspace of
that sum, then the kept input is freed. Activations and gradients are named by the ids of their blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtrace.workloads.transformer.forward import Forward, Saved
from memtrace.workloads.transformer.setup import FLOAT, TEMPORARY, WORKSPACE, Setup, Sizes
from memtrace.workloads.transformer.tape import Tape

Gradient = Callable[[str], None]  # writes the gradient of a parameter, by its name in the block, or adds to it

UNSORTED = 3072  # tokens up to which the token table's gradient is summed without sorting (PyTorch)
NORMS = {"gpt": ("", ".bias"), "llama": ("",)}  # architecture -> suffixes of a norm's parameters


class Backward:
    """Write backward passes to a tape."""

    def __init__(self, tape: Tape, setup: Setup, forward: Forward) -> None:
        """Set the tape to write to; `forward` writes what is computed again."""
        self.tape, self.setup, self.forward = tape, setup, forward
        self.biased = setup.model.arch == "gpt"

    def block(self, sizes: Sizes, saved: Saved, dy: int, gradient: Gradient) -> int:
        """Write the backward pass of a block, and return the gradient of its input.

        `dy` is the gradient of the block's output. `saved` has what the forward pass kept; all of it is freed.
        """
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
        """Write the gradient behind a dropout and free its mask; returns the gradient, which is `dy` if there is no dropout."""
        if name not in saved:
            return dy
        d = self.tape.alloc(sizes.outer, TEMPORARY)
        self.tape.free(saved.pop(name))
        return d

    def _weights(self, sizes: Sizes, name: str, outputs: int, gradient: Gradient) -> None:
        """Write the gradients of a matrix and its bias; the bias's is a sum over all tokens, in two stages."""
        gradient(name)
        if self.biased:
            gradient(f"{name}.bias")
            partial = self.tape.alloc(sizes.tokens * outputs * 8, WORKSPACE)
            self.tape.brief(max(4, outputs // 32), WORKSPACE)
            self.tape.free(partial)

    def _gathered(self, sizes: Sizes) -> list[int]:
        """Return the kept part of a sequence, gathered again for the gradient of the weights.

        Without sequence parallelism nothing is gathered, and [] is returned.
        """
        return [self.tape.alloc(sizes.hidden, WORKSPACE)] if sizes.split > 1 else []

    def _gelu(self, sizes: Sizes, saved: Saved, d: int, dy: int, gradient: Gradient) -> int:
        """Write the backward pass of a GELU MLP, and return the gradient of its normalised input.

        `d` is the gradient of the MLP's output, which is freed unless it is `dy`, that of the residual stream.
        """
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
        """Write the backward pass of a SwiGLU MLP, and return the gradient of its normalised input.

        `d` is the gradient of the MLP's output, which is freed unless it is `dy`, that of the residual stream.
        """
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
        """Write a norm's gradient, which is added to `dy`, the gradient of the residual stream, in place; returns `dy`."""
        tape = self.tape
        dx = self.norm(sizes, saved, name, source, d, gradient)
        tape.free(dx)
        return dy

    def norm(self, sizes: Sizes, saved: Saved, name: str, source: str, d: int, gradient: Gradient) -> int:
        """Write and return the gradient of a norm's input; frees what the norm kept and `d`, the gradient of its output.

        `name` is the norm's name in `saved`, `source` that of its input.
        """
        tape = self.tape
        dx = tape.alloc(sizes.outer, TEMPORARY)
        for part in NORMS[self.setup.model.arch]:
            gradient(name + part)
        tape.free(d, saved.pop(source))
        tape.free(*(saved.pop(f"{name}.{part}") for part in ("mean", "deviation") if f"{name}.{part}" in saved))
        return dx

    def _core_again(self, sizes: Sizes, saved: Saved) -> None:
        """Write the attention again under selective recomputation: what lies between the queries and the context is needed."""
        if self.setup.checkpointing == "selective":
            self.forward.attention(sizes, saved, core=True, keep=True)

    def _attention(self, sizes: Sizes, saved: Saved, dcontext: int) -> int:
        """Write the attention's backward pass, and return the gradient of queries, keys and values as one block.

        `dcontext`, the gradient of the attention's output, is freed.
        """
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
        """Write the gradient back through the rotary positions, and return it.

        All three parts are modelled as one block, since only the matrices read them singly.
        """
        found = self.tape.alloc(sizes.qkv, TEMPORARY)
        self.tape.free(*gradients)
        return found

    def _flash(self, sizes: Sizes, saved: Saved, dcontext: int) -> list[int]:
        """Write the backward pass of flash attention, and return the gradients of queries, keys and values.

        `dcontext`, the gradient of the attention's output, is freed.
        """
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
        """Write the backward pass of attention with kept scores, and return the gradients of queries, keys and values.

        `dcontext`, the gradient of the attention's output, is freed.
        """
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
        """Write the backward pass of the matrices for queries, keys and values.

        Returns the gradient of their normalised input, and frees `dqkv`, that of their outputs.
        """
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
        """Write the pass from the loss to the gradient of the last norm's output, and return it; frees `normed`, that output.

        The loss itself stays until it is read. `saved` is what `Forward.loss` has kept, without the loss.
        """
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
    """Write the dense gradient of the token table: tokens are sorted, then summed by segments.

    Source: PyTorch's embedding_dense_backward.
    """
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
