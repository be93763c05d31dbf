"""A gate as text -> a Gate. A grammar of a few lines; nothing is ever evaluated.

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

MOST_CHARACTERS = 500
MOST_DIGITS = 30
OPERATORS = (">=", "<=", "==", "!=", ">", "<")
NO_UNITS = ("where", "and", "or")
WORDS = {"status": ("ok", "oom")}
FACTS = ("capacity_bytes", "events", "allocs", "frees", "reallocs", "max_live_blocks", "requested_bytes")

Kind = Literal["value", "base", "policy", "measure", "word"]


@dataclass(frozen=True)
class Limit:
    """``factor`` x what ``kind`` and ``name`` refer to + ``offset``; a value has no reference, a word only a name."""

    kind: Kind
    name: str = ""
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


@dataclass(frozen=True)
class Gate:
    """Fails a row of which ``measure op limit`` is true."""

    text: str
    measure: str
    op: str
    limit: Limit
    traces: str = "*"
    policies: str = "*"

    @property
    def needs_base(self) -> bool:
        return self.limit.kind == "base"


class Token(NamedTuple):
    kind: str  # number, name, string, op, end
    text: str
    at: int


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)
          |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
          |(?P<string>"[^"]*"|'[^']*')
          |(?P<op>>=|<=|==|!=|[><=+*%()-]))""",
    re.VERBOSE | re.ASCII,
)


def parse_gate(text: str) -> Gate:
    """The gate that this text says; UsageError names the text, the place and what to write instead."""
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"gate {text[:40]!r}...: {len(text):,} characters; a gate has at most {MOST_CHARACTERS}")
    return _Parser(text).gate()


def units() -> dict[str, str]:
    """What a gate may measure, with its unit."""
    from memtrace.metrics import declared

    facts = {name: "bytes" if name.endswith("_bytes") else "count" for name in FACTS}
    return {**facts, **{metric.name: metric.unit for metric in declared()}}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.next = 0
        self.units = units()

    def _tokens(self) -> list[Token]:
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
        at = self.peek().at if at is None else at
        raise UsageError(f"gate {self.text!r}, character {at + 1}: {what}")

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.next + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.peek()
        self.next += 1
        return token

    def took(self, *texts: str) -> bool:
        """Whether the next token is one of these, which it then takes."""
        if self.peek().kind in ("op", "name") and self.peek().text in texts:
            self.next += 1
            return True
        return False

    def gate(self) -> Gate:
        measure = self.measure()
        op = self.peek().text
        if op not in OPERATORS:
            self.fail(f"a comparison is expected: {' '.join(OPERATORS)}")
        self.take()
        limit = self.word(measure, op) if measure in WORDS else self.limit(measure)
        scopes = self.scopes()
        if self.peek().kind != "end":
            self.fail(f"{self.peek().text!r} is too much; a gate has one comparison and then, at most, where ...")
        return Gate(self.text.strip(), measure, op, limit, scopes.get("trace", "*"), scopes.get("policy", "*"))

    def measure(self) -> str:
        token = self.peek()
        if token.kind != "name":
            self.fail("the name of a measure is expected; `memtrace metrics` lists them")
        if token.text not in self.units:
            raise UsageError(f"gate {self.text!r}: {unknown('measure', token.text, self.units)}")
        return self.take().text

    def word(self, measure: str, op: str) -> Limit:
        if op not in ("==", "!="):
            self.fail(f"{measure} is a word: compare it with == or !=")
        if self.took("base"):
            return Limit("base")
        token = self.take()
        value = token.text.strip("\"'")
        if token.kind not in ("name", "string") or value not in WORDS[measure]:
            self.fail(f"{measure} is one of {', '.join(WORDS[measure])}", token.at)
        return Limit("word", value)

    def limit(self, measure: str) -> Limit:
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
        """The limit with what follows it: + 1% makes it larger by that share of itself, + 10MiB by so much."""
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
        token = self.take()
        if token.kind != "number":
            self.fail("a number is expected", token.at)
        if len(token.text) > MOST_DIGITS:
            self.fail(f"a number has at most {MOST_DIGITS} digits", token.at)
        return Fraction(token.text.replace("_", ""))

    def amount(self, measure: str) -> Fraction:
        """A plain amount in the unit of the measure."""
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
        token = self.take()
        if token.kind != "string" or len(token.text) == 2:
            self.fail(f"{what} is expected", token.at)
        return token.text[1:-1]

    def scopes(self) -> dict[str, str]:
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
