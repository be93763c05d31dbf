"""Parse a gate, such as `peak_reserved_bytes > +1%`, by the grammar below. No part of the text is ever evaluated as code.

gate   = measure op limit [ "where" scope { "and" scope } ]
op     = ">" | ">=" | "<" | "<=" | "==" | "!="
limit  = sign amount                                 against the base: +1%, +10MiB, -0.02
       | [ factor "*" ] reference [ sign amount ]    against another value: 1.1 * lower_bound_bytes
       | amount                                      200MiB, 0.15, 15%
       | word                                        status == oom
amount = number [ unit | "%" ]
reference = "base" | "policy" "(" string ")" | measure
scope  = ( "trace" | "policy" ) "=" string           with * and ? in it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, NoReturn

from memtrace.errors import UsageError
from memtrace.names import unknown
from memtrace.units import UNITS, parse_size

MOST_CHARACTERS = 500  # of a gate
MOST_DIGITS = 30  # of a number
OPERATORS = (">=", "<=", "==", "!=", ">", "<")
NO_UNITS = ("where", "and", "or")  # names that may follow a number without being its unit
WORDS = {"status": ("ok", "oom")}  # measures that are words, and their values
# Columns of the summary that are facts of the run or of its trace, and that a gate may name like a measure.
FACTS = ("capacity_bytes", "events", "allocs", "frees", "reallocs", "max_live_blocks", "requested_bytes")

Kind = Literal["value", "base", "policy", "measure", "word"]


@dataclass(frozen=True)
class Limit:
    """The right side of a gate: ``factor`` times the value that ``kind`` and ``name`` refer to, plus ``offset``.

    ``kind`` "value" refers to nothing (the factor is 0), "base" to the same row of the base, "policy" to the row of
    policy ``name``, "measure" to the row's own measure ``name``; "word" is the word ``name``.
    """

    kind: Kind
    name: str = ""
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


@dataclass(frozen=True)
class Gate:
    """A rule: every row in its scope for which ``measure op limit`` is true fails."""

    text: str  # as it was written
    measure: str
    op: str
    limit: Limit
    traces: str = "*"  # pattern of the traces in scope, with * and ?
    policies: str = "*"  # pattern of the policies in scope

    @property
    def needs_base(self) -> bool:
        """Return whether the limit refers to the base."""
        return self.limit.kind == "base"


class Token(NamedTuple):
    """One token of a gate's text."""

    kind: str  # number, name, string, op, end
    text: str
    at: int  # index of its first character in the text


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)
          |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
          |(?P<string>"[^"]*"|'[^']*')
          |(?P<op>>=|<=|==|!=|[><=+*%()-]))""",
    re.VERBOSE | re.ASCII,
)


def parse_gate(text: str) -> Gate:
    """Return the gate that the text describes.

    Raise UsageError, with the text, the place and what to write instead, if there is none.
    """
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"gate {text[:40]!r}...: {len(text):,} characters; a gate has at most {MOST_CHARACTERS}")
    return _Parser(text).gate()


def units() -> dict[str, str]:
    """Return the unit of each column that a gate may name, by name."""
    from memtrace.measures import declared

    facts = {name: "bytes" if name.endswith("_bytes") else "count" for name in FACTS}
    return {**facts, **{metric.name: metric.unit for metric in declared()}}


class _Parser:
    """A recursive-descent parser of one gate.

    Each method that is named after a rule of the grammar parses that rule at the next token; ``measure`` is the gate's
    measure, which decides the units of numbers.
    """

    def __init__(self, text: str) -> None:
        """Split the text into tokens; raise UsageError for a character that begins none."""
        self.text = text
        self.tokens = list(self._tokens())
        self.next = 0
        self.units = units()

    def _tokens(self) -> list[Token]:
        """Return the tokens of the text, and one of kind "end" behind them."""
        found, at = [], 0
        end = len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                rest = self.text[at:].lstrip()
                self.fail(f"{rest[0]!r} means nothing here", len(self.text) - len(rest))
            assert match.lastgroup is not None
            found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return [*found, Token("end", "", end)]

    def fail(self, what: str, at: int | None = None) -> NoReturn:
        """Raise UsageError with this message and the place, by default that of the next token."""
        at = self.peek().at if at is None else at
        raise UsageError(f"gate {self.text!r}, character {at + 1}: {what}")

    def peek(self, ahead: int = 0) -> Token:
        """Return the next token, or the one ``ahead`` tokens after it, without taking it."""
        return self.tokens[min(self.next + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        """Return the next token, and advance past it."""
        token = self.peek()
        self.next += 1
        return token

    def took(self, *texts: str) -> bool:
        """Advance past the next token if it is one of these texts, and return whether it is."""
        if self.peek().kind in ("op", "name") and self.peek().text in texts:
            self.next += 1
            return True
        return False

    def gate(self) -> Gate:
        """Parse the whole text as a gate."""
        measure = self.measure()
        op = self.peek().text
        if op not in OPERATORS:
            self.fail(f"a comparison is expected: {' '.join(OPERATORS)}")
        self.take()
        limit = self.word(measure, op) if self.units[measure] == "word" else self.limit(measure)
        scopes = self.scopes()
        if self.peek().kind != "end":
            self.fail(f"{self.peek().text!r} is too much; a gate has one comparison and then, at most, where ...")
        return Gate(self.text.strip(), measure, op, limit, scopes.get("trace", "*"), scopes.get("policy", "*"))

    def measure(self) -> str:
        """Parse the name of a measure."""
        token = self.peek()
        if token.kind != "name":
            self.fail("the name of a measure is expected; `memtrace metrics` lists them")
        if token.text not in self.units:
            raise UsageError(f"gate {self.text!r}: {unknown('measure', token.text, self.units)}")
        return self.take().text

    def word(self, measure: str, op: str) -> Limit:
        """Parse the limit of a measure that is a word: one of its words, or `base`."""
        if op not in ("==", "!="):
            self.fail(f"{measure} is a word: compare it with == or !=")
        if self.took("base"):
            return Limit("base")
        token = self.take()
        value = token.text.strip("\"'")
        words = WORDS.get(measure, (value,))  # of a plug-in's measure any word may be asked for
        if token.kind not in ("name", "string") or value not in words:
            self.fail(f"{measure} is one of {', '.join(WORDS.get(measure, ('words',)))}", token.at)
        return Limit("word", value)

    def limit(self, measure: str) -> Limit:
        """Parse the limit of a measure that is a number."""
        if self.peek().text in ("+", "-") and self.peek().kind == "op":
            return self.shifted(Limit("base"), measure)
        if self.peek().kind == "number":
            if self.peek(1).text != "*":
                return Limit("value", factor=Fraction(0), offset=self.amount(measure))
            factor = self.number()
            self.take()
            return self.shifted(self.reference(measure, factor), measure)
        if self.peek().kind == "name":
            return self.shifted(self.reference(measure, Fraction(1)), measure)
        self.fail('a limit is expected, such as +1%, 200MiB, 0.15, 1.1 * lower_bound_bytes or policy("best-fit")')

    def reference(self, measure: str, factor: Fraction) -> Limit:
        """Parse `base`, `policy("...")` or the name of a measure, and return a limit of ``factor`` times its value."""
        if self.took("base"):
            return Limit("base", factor=factor)
        if self.peek().text == "policy" and self.peek(1).text == "(":
            self.next += 2
            name = self.string("the policy's name in quotes")
            if not self.took(")"):
                self.fail("')' is expected")
            return Limit("policy", name, factor)
        at = self.peek().at
        name = self.measure()
        if self.units[name] == "word" or (self.units[name] == "bytes") != (self.units[measure] == "bytes"):
            self.fail(f"{measure} ({self.units[measure]}) cannot be compared with {name} ({self.units[name]})", at)
        return Limit("measure", name, factor)

    def shifted(self, limit: Limit, measure: str) -> Limit:
        """Parse an optional sign and amount after a limit, and return the limit with it.

        A percentage, such as + 1%, enlarges the limit by that share of itself; an amount, such as + 10MiB, is added.
        """
        sign = 1 if self.took("+") else -1 if self.took("-") else 0
        if not sign:
            return limit
        if self.peek().kind != "number":
            self.fail("an amount is expected after the sign, such as +1% or +10MiB")
        if self.peek(1).text == "%":
            share = sign * self.number() / 100
            self.take()
            return Limit(limit.kind, limit.name, limit.factor * (1 + share))
        return Limit(limit.kind, limit.name, limit.factor, sign * self.amount(measure))

    def number(self) -> Fraction:
        """Parse a number without unit, exactly."""
        token = self.take()
        if token.kind != "number":
            self.fail("a number is expected", token.at)
        if len(token.text) > MOST_DIGITS:
            self.fail(f"a number has at most {MOST_DIGITS} digits", token.at)
        return Fraction(token.text.replace("_", ""))

    def amount(self, measure: str) -> Fraction:
        """Parse a number with an optional unit or percent sign, and return it in the unit of the measure: bytes for sizes."""
        token, unit = self.peek(), self.units[measure]
        value = self.number()
        if self.took("%"):
            if unit != "ratio":
                self.fail(f"{token.text}% of what? write +{token.text}% for that above the base", token.at)
            return value / 100
        if self.peek().kind != "name" or self.peek().text in NO_UNITS:
            return value
        word = self.take().text
        if unit != "bytes":
            self.fail(f"{measure} is no size: {word!r} does not belong there", token.at)
        if word not in UNITS and len(word) > 3:
            self.fail(f"{word!r} is no unit; known: B, KiB, MiB, GiB, kB, MB, GB", token.at)
        try:
            return Fraction(parse_size(token.text + word))
        except UsageError as error:
            self.fail(str(error), token.at)

    def string(self, what: str) -> str:
        """Parse a quoted text that is not empty; ``what`` names it in the error message."""
        token = self.take()
        if token.kind != "string" or len(token.text) == 2:
            self.fail(f"{what} is expected", token.at)
        return token.text[1:-1]

    def scopes(self) -> dict[str, str]:
        """Parse an optional `where` part, and return the patterns by "trace" and "policy"."""

        found: dict[str, str] = {}
        if not self.took("where"):
            return found
        while True:
            name = self.peek().text
            if name not in ("trace", "policy") or name in found:
                self.fail('trace = "..." or policy = "..." is expected, each at most once')
            self.take()
            if not self.took("=", "=="):
                self.fail("'=' is expected")
            found[name] = self.string("a name in quotes, with * and ? for any characters,")
            if not self.took("and"):
                return found
