"""Write the forward pass to a tape: each operator's output, what it keeps for the backward pass, and what it frees.

The order is that of PyTorch's eager mode, as recorded. With `keep` false nothing is kept, as within a checkpoint: a block of
memory is freed after its last reader. Activations are named by the ids of their blocks of memory.
"""

from __future__ import annotations

from typing import Any

from memtrace.workloads.transformer.setup import ACTIVATION, TEMPORARY, WORKSPACE, Setup, Sizes
from memtrace.workloads.transformer.tape import Tape

Saved = dict[str, int]  # name of a kept activation -> id of its block of memory
SEED_BYTES = 8  # bytes of flash attention's random seed, and of its offset
CUBLAS_WORKSPACE = 8_519_680  # bytes; allocated at the first matrix product, never freed


class Forward:
    """Write forward passes to a tape."""

    def __init__(self, tape: Tape, setup: Setup) -> None:
        """Set the tape to write to; `begun` is whether the cuBLAS workspace is allocated."""
        self.tape, self.setup = tape, setup
        self.begun = False

    def block(self, sizes: Sizes, x: int, keep: bool, own_input: bool = True) -> tuple[int, Saved]:
        """Write a transformer block on the residual stream `x`; returns its output, and what is kept by name.

        Without `keep`, nothing is kept; `x` is then freed if `own_input` is true.
        """
        tape, llama = self.tape, self.setup.model.arch == "llama"
        saved: Saved = {"x": x}
        normed = self._norm(sizes, saved, "norm1", keep)
        self._qkv(sizes, saved, normed, keep)
        core = keep and self.setup.checkpointing != "selective"
        self.attention(sizes, saved, core, keep)
        out = tape.alloc(sizes.outer, TEMPORARY)
        if not keep:
            tape.free(saved.pop("context"))
        out = self._dropout(sizes, saved, "drop1", out, keep)
        middle = tape.alloc(sizes.outer, ACTIVATION)
        tape.free(out)
        if not keep and own_input:
            tape.free(saved.pop("x"))
        saved["middle"] = middle
        normed = self._norm(sizes, saved, "norm2", keep)
        inner = self._gated(sizes, saved, normed, keep) if llama else self._gelu(sizes, saved, normed, keep)
        out = tape.alloc(sizes.outer, TEMPORARY)
        if not keep:
            tape.free(saved.pop(inner))
        out = self._dropout(sizes, saved, "drop2", out, keep)
        y = tape.alloc(sizes.outer, ACTIVATION)
        tape.free(out)
        if not keep:
            tape.free(saved.pop("middle"))
        return y, saved

    def norm(self, sizes: Sizes, saved: Saved, name: str) -> int:
        """Write a norm whose statistics are kept, and return its output."""
        normed = self._norm(sizes, saved, name, keep=True)
        return normed

    def _norm(self, sizes: Sizes, saved: Saved, name: str, keep: bool) -> int:
        """Write a norm: its output becomes `saved[name]`, and its statistics are kept or freed; returns the output."""
        tape = self.tape
        saved[name] = tape.alloc(sizes.outer, ACTIVATION)
        parts = ("mean", "deviation") if self.setup.model.arch == "gpt" else ("deviation",)
        made = {f"{name}.{part}": tape.alloc(sizes.statistics, ACTIVATION) for part in parts}
        if keep:
            saved.update(made)
        else:
            tape.free(*made.values())
        return saved[name]

    def _gathered(self, sizes: Sizes) -> int | None:
        """Return the whole sequence, gathered for a matrix that reads it; None without sequence parallelism."""
        return self.tape.alloc(sizes.hidden, WORKSPACE) if sizes.split > 1 else None

    def _after(self, gathered: int | None, saved: Saved, normed: str, keep: bool) -> None:
        """Free the gathered sequence, if any, and without `keep` the norm's output, after a matrix has read them."""
        if gathered is not None:
            self.tape.free(gathered)
        if not keep:
            self.tape.free(saved.pop(normed))

    def _qkv(self, sizes: Sizes, saved: Saved, normed: int, keep: bool) -> None:
        """Write queries, keys and values, which become one block in `saved` for gpt, three for llama."""
        tape = self.tape
        gathered = self._gathered(sizes)
        if self.setup.model.arch == "gpt":
            saved["qkv"] = tape.alloc(sizes.qkv, ACTIVATION)
            self._begin()
            self._after(gathered, saved, "norm1", keep)
            return
        q = tape.alloc(sizes.context, TEMPORARY)
        self._begin()
        k = tape.alloc(sizes.keys, TEMPORARY)
        saved["v"] = tape.alloc(sizes.keys, ACTIVATION)
        self._after(gathered, saved, "norm1", keep)
        saved["q"] = tape.alloc(sizes.context, ACTIVATION)
        saved["k"] = tape.alloc(sizes.keys, ACTIVATION)
        tape.free(q, k)

    def _begin(self) -> None:
        """Write the workspace of the first matrix product, which is never freed."""
        if not self.begun:
            self.begun = True
            self.tape.alloc(CUBLAS_WORKSPACE, WORKSPACE)

    def attention(self, sizes: Sizes, saved: Saved, core: bool, keep: bool) -> None:
        """Write the attention, from queries, keys and values to the context; `core` keeps what lies between them.

        Without `keep` the queries, keys and values are freed. If `saved` has the context already, it is not kept a second time.
        """
        tape = self.tape
        if self.setup.flash:
            made = {part: tape.alloc(SEED_BYTES, ACTIVATION) for part in ("seed", "offset")}
            context = tape.alloc(sizes.context, ACTIVATION)
            made["sums"] = tape.alloc(sizes.softmax_sums, ACTIVATION)
        else:
            scores = tape.alloc(sizes.scores, TEMPORARY)
            made = {"softmax": tape.alloc(sizes.scores, ACTIVATION)}
            tape.free(scores)
            if self.setup.dropout:
                made["dropped"] = tape.alloc(sizes.scores, ACTIVATION)
                made["drop0"] = tape.alloc(sizes.scores_mask, ACTIVATION)
            context = tape.alloc(sizes.context, ACTIVATION)
        if "context" in saved:  # computed again by the backward pass, which needs only what lies between
            tape.free(context)
        saved.setdefault("context", context)
        if core:
            saved.update(made)
        else:
            tape.free(*made.values())
        if not keep:
            tape.free(*(saved.pop(part) for part in ("qkv", "q", "k", "v") if part in saved))

    def _dropout(self, sizes: Sizes, saved: Saved, name: str, x: int, keep: bool) -> int:
        """Write a dropout of `x`, whose mask becomes `saved[name]`, and return its output; `x` itself without dropout."""
        if not self.setup.dropout:
            return x
        out = self.tape.alloc(sizes.outer, TEMPORARY)
        mask = self.tape.alloc(sizes.outer_mask, ACTIVATION)
        self.tape.free(x)
        if keep:
            saved[name] = mask
        else:
            self.tape.free(mask)
        return out

    def _gelu(self, sizes: Sizes, saved: Saved, normed: int, keep: bool) -> str:
        """Write an MLP with GELU up to its second matrix, and return the name in `saved` of that matrix's input."""
        tape = self.tape
        gathered = self._gathered(sizes)
        saved["up"] = tape.alloc(sizes.ffn, ACTIVATION)
        self._after(gathered, saved, "norm2", keep)
        saved["gelu"] = tape.alloc(sizes.ffn, ACTIVATION)
        if not keep:
            tape.free(saved.pop("up"))
        return "gelu"

    def _gated(self, sizes: Sizes, saved: Saved, normed: int, keep: bool) -> str:
        """Write an MLP with SwiGLU up to its last matrix, and return the name in `saved` of that matrix's input."""
        tape = self.tape
        gathered = self._gathered(sizes)
        saved["gate"] = tape.alloc(sizes.ffn, ACTIVATION)
        saved["silu"] = tape.alloc(sizes.ffn, ACTIVATION)
        saved["up"] = tape.alloc(sizes.ffn, ACTIVATION)
        self._after(gathered, saved, "norm2", keep)
        saved["product"] = tape.alloc(sizes.ffn, ACTIVATION)
        if not keep:
            tape.free(*(saved.pop(part) for part in ("gate", "silu", "up")))
        return "product"

    def loss(self, sizes: Sizes) -> dict[str, Any]:
        """Write the logits over the vocabulary and their cross-entropy, computed in fp32; returns what is kept by name."""
        tape = self.tape
        logits = tape.alloc(sizes.logits, TEMPORARY)
        cast = tape.alloc(sizes.float_logits, TEMPORARY) if self.setup.mixed else None
        saved = {"softmax": tape.alloc(sizes.float_logits, ACTIVATION)}
        saved["loss"], saved["weight"] = tape.alloc(4, ACTIVATION), tape.alloc(4, ACTIVATION)
        tape.free(*([cast] if cast is not None else []), logits)
        return saved
