"""Floats in a policy that become an address or a count of bytes: it would run, with wrong sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from memtrace.contract.policy import functions_of
from memtrace.engine.dialect import INTEGERS, Problem, Text, own_nodes, texts


def fractions(module: ModuleType, state: Any) -> list[Problem]:
    """Return the divisions with ``/`` and other floats that become an address or a size, and are cut off later or never.

    What a function of the contract returns is certain. What is written to an array counts if ``state``, the policy's, has that
    array and it is one of whole numbers. A float that is only compared is none.
    """
    found = [problem for problem, field in _floats(module) if field is None or _is_whole(getattr(state, field, None))]
    return list(dict.fromkeys(found))


def _is_whole(array: Any) -> bool:
    """Return whether something is an array of whole numbers."""
    return getattr(getattr(array, "dtype", None), "kind", "") in ("i", "u")


@cache
def _floats(module: ModuleType) -> tuple[tuple[Problem, str | None], ...]:
    """Return the floats of a policy's text, each with the field of the state that it is written to; None: it is returned."""
    known = {text.name: text for text in texts(module)}
    broken: dict[str, ast.AST] = {}  # functions that return a float, and the division
    while True:
        before = len(broken)
        for name, text in known.items():
            if name not in broken and (node := _Floats(text, broken).returned()) is not None:
                broken[name] = node
        if len(broken) == before:
            break
    own = functions_of(module)
    found: list[tuple[ast.AST, str | None]] = [
        (node, None) for name, node in broken.items() if name in INTEGERS and own.get(name) is known[name].function
    ]
    found += [each for text in known.values() for each in _Floats(text, broken).stored()]
    return tuple((_float_problem(node, known.values()), field) for node, field in found)


def _float_problem(node: ast.AST, texts: Iterable[Text]) -> Problem:
    """Return the problem of a float, in the function that has it."""
    place = next(text for text in texts if any(each is node for each in ast.walk(text.tree)))
    divides = isinstance(getattr(node, "op", None), ast.Div)
    what = f"{'/ gives' if divides else 'this is'} a float, which ends as an address or as a count of bytes"
    return place.problem(node, what, "write // for /" if divides else "write it with whole numbers, or in int(...)")


class _Floats:
    """Which expressions of one function are floats for certain, because of a division."""

    def __init__(self, text: Text, broken: dict[str, ast.AST]) -> None:
        """Find the variables that a division is assigned to; ``broken`` are the functions that return floats."""
        self.broken, self.nodes = broken, list(own_nodes(text.tree))
        self.names: dict[str, ast.AST] = {}
        while True:
            before = len(self.names)
            for node in self.nodes:
                if isinstance(node, ast.Assign | ast.AugAssign):
                    self.assign(node)
            if len(self.names) == before:
                return

    def assign(self, node: Any) -> None:
        """Note the variables that an assignment makes floats."""
        source = self.of(node.value)
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div):
            source = node
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) and len(target.elts) == len(node.value.elts):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name) and (found := source if len(pairs) == 1 else self.of(value)) is not None:
                    self.names.setdefault(name.id, found)

    def of(self, node: ast.AST | None) -> ast.AST | None:
        """Return the division that makes an expression a float; None if it is none for certain."""
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Div) or any(isinstance(getattr(e, "value", None), float) for e in (node.left, node.right)):
                return node
            return self.of(node.left) or self.of(node.right)
        if isinstance(node, ast.UnaryOp):
            return self.of(node.operand)
        if isinstance(node, ast.IfExp):
            return self.of(node.body) or self.of(node.orelse)
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in self.broken:
                return self.broken[node.func.id]
            if node.func.id in ("max", "min", "abs"):
                return next((found for each in node.args if (found := self.of(each)) is not None), None)
        return None

    def returned(self) -> ast.AST | None:
        """Return the division that makes a result of the function a float."""
        for node in self.nodes:
            if isinstance(node, ast.Return) and (found := self.of(node.value)) is not None:
                return found
        return None

    def stored(self) -> Iterator[tuple[ast.AST, str]]:
        """Yield the divisions whose floats are written to arrays of the state, with the fields."""
        for node in self.nodes:
            if not isinstance(node, ast.Assign | ast.AugAssign):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                array = target.value if isinstance(target, ast.Subscript) else None
                if (
                    isinstance(array, ast.Attribute)
                    and getattr(array.value, "id", "") == "state"
                    and (found := self.of(node.value)) is not None
                ):
                    yield found, array.attr
