"""Record the memory plan of a TensorFlow Lite model: when each tensor of the arena lives, and where the planner put it.

The interpreter (LiteRT: package ai-edge-litert, or tflite-runtime, or TensorFlow) allocates the tensors and is not run. The
address of a tensor less the lowest one is its offset; its lifetime follows from the operators that write and read it. The time is
the number of the operator. Inputs live throughout, outputs and tensors that nobody reads to the end. A tensor at the offset of
another whose last reader writes it is computed in its place: both are one block.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from memtrace.errors import InputError, UsageError

# Modules that have the interpreter, the newest first.
INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite.python.interpreter")
EXTRA = "pip install 'memtrace-replay[tflite]'"
# Operators that have graphs of their own.
SUBGRAPHS = {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_COMPOSITE"}
ASSUMED = (
    "no delegate is used: each operator is a step of its own",
    "scratch memory of operators is not seen: where the plan has some, the arena is larger than what is written",
)


class Tensor(NamedTuple):
    """A tensor of the arena, over the operators [lower, upper)."""

    name: str
    lower: int
    upper: int
    size: int  # bytes
    offset: int  # bytes above the lowest tensor


@dataclass(frozen=True)
class Recording:
    """Describe a written plan."""

    blocks: int
    height: int  # bytes: where the highest block ends
    assumed: list[str]


def record(model: str | os.PathLike[str], target: str | os.PathLike[str]) -> Recording:
    """Write the plan of a .tflite model as CSV: id, lower, upper, size, offset.

    Raises UsageError if no interpreter is installed or the target is no .csv, InputError if the model cannot be loaded.
    """
    target = Path(target)
    if target.suffix != ".csv":
        raise UsageError(f"{target}: a plan is written as CSV\ntry: {target.with_suffix('.csv')}")
    interpreter, types = loaded(model)
    assumed = list(ASSUMED)
    inner = sorted({str(each["op_name"]) for each in interpreter._get_ops_details()} & SUBGRAPHS)
    if inner:
        assumed.append(f"graphs within {', '.join(inner)} are not seen: only the main graph's tensors are written")
    blocks = list(joined(tensors(interpreter)))
    if not blocks:
        raise InputError(f"{model}: no tensor has a place in the arena; {types} allocates none")
    write(target, blocks)
    return Recording(len(blocks), max(block.offset + block.size for block in blocks), assumed)


def loaded(model: str | os.PathLike[str]) -> tuple[Any, str]:
    """Return an interpreter with the model's tensors allocated, and the name of its module; raises as `record` does."""
    if not Path(model).is_file():
        raise InputError(f"{model}: there is no such file")
    for name in INTERPRETERS:
        try:
            module = import_module(name)
        except ImportError:
            continue
        resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter = module.Interpreter(os.fspath(model), experimental_op_resolver_type=resolver)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{model}: {name} cannot load it: {error}") from error
        return interpreter, name
    raise UsageError(f"a model's plan needs the interpreter of TensorFlow Lite: {EXTRA}")


def tensors(interpreter: Any) -> list[Tensor]:
    """Return the tensors of the arena: inputs and what operators write, by their lifetimes, with offsets."""
    operators = interpreter._get_ops_details()
    count = len(operators)
    given = {int(each["index"]) for each in interpreter.get_input_details()}
    kept = {int(each["index"]) for each in interpreter.get_output_details()}
    lower = dict.fromkeys(given, 0)
    upper: dict[int, int] = {}
    for step, operator in enumerate(operators):
        upper |= {int(tensor): step + 1 for tensor in operator["inputs"]}
        for tensor in operator["outputs"]:
            lower.setdefault(int(tensor), step)
    names = {int(each["index"]): str(each["name"]) for each in interpreter.get_tensor_details()}
    found: list[tuple[int, Tensor]] = []
    for tensor, begin in lower.items():
        place = placed(interpreter, tensor)
        if place is not None and place[1] > 0:
            end = count if tensor in given | kept else upper.get(tensor, count)
            found.append((place[0], Tensor(names.get(tensor) or f"tensor {tensor}", begin, end, place[1], 0)))
    base = min((address for address, _ in found), default=0)
    return [tensor._replace(offset=address - base) for address, tensor in found]


def placed(interpreter: Any, tensor: int) -> tuple[int, int] | None:
    """Return the address and the bytes of a tensor, None if it has no memory yet (its shape is not known before a run)."""
    try:
        array = interpreter.tensor(tensor)()
    except (ValueError, RuntimeError):
        return None
    return int(array.__array_interface__["data"][0]), int(array.nbytes)


def joined(tensors: list[Tensor]) -> Iterator[Tensor]:
    """Yield the blocks in the order of time: tensors at one offset whose lifetimes meet are one, named after all of them."""
    blocks: list[Tensor] = []
    for tensor in sorted(tensors, key=lambda each: (each.offset, each.lower, each.upper)):
        last = blocks[-1] if blocks else None
        if last is not None and last.offset == tensor.offset and tensor.lower < last.upper:
            name = f"{last.name}+{tensor.name}"
            blocks[-1] = Tensor(name, last.lower, max(last.upper, tensor.upper), max(last.size, tensor.size), last.offset)
        else:
            blocks.append(tensor)
    yield from sorted(blocks, key=lambda block: (block.lower, block.offset))


def write(target: Path, blocks: list[Tensor]) -> None:
    """Write blocks as CSV, whole or not at all."""
    part = target.with_name(target.name + ".part")
    try:
        with part.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("id", "lower", "upper", "size", "offset"))
            out.writerows(blocks)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
