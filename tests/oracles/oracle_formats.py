"""The text formats read the slow and obvious way: a regular expression per kind of line, a dictionary of live pointers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

HEX = r"(?:0x[0-9a-f]{1,16}|\(nil\)|[0-9a-f]{1,16})"
NUM = r"[0-9]+"
ALLOC, FREE, REALLOC, UNREADABLE = 0, 1, 2, 255
Row = tuple[int, int | None, int | None, int | None, int | None]  # op, block, size, align, stream


def pointer(text: str) -> int:
    value = 0 if text == "(nil)" else int(text, 16)
    return value - 2**64 if value >= 2**63 else value


def number(text: str) -> int:
    return min(int(text), 2**63 - 1)


@dataclass
class Heap:
    """What each call of a program does, and how often something had to be assumed."""

    live: dict[int, int] = field(default_factory=dict)
    next: int = 0
    rows: list[Row] = field(default_factory=list)
    odd: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.odd[what] = self.odd.get(what, 0) + 1

    def malloc(self, result: int, size: int, align: int | None = None, stream: int | None = None) -> None:
        if result == 0:
            self.count("failed")
            return
        if result in self.live:
            self.count("again")
            self.rows.append((FREE, self.live.pop(result), None, None, stream))
        if align is not None and (align <= 0 or align > 2**60 or align & (align - 1)):
            self.count("align")
            align = None
        self.live[result] = self.next
        self.next += 1
        self.rows.append((ALLOC, self.live[result], size, align, stream))

    def free(self, given: int, stream: int | None = None) -> None:
        if given == 0:
            self.rows.append((FREE, None, None, None, stream))
        elif given in self.live:
            self.rows.append((FREE, self.live.pop(given), None, None, stream))
        else:
            self.count("unknown free")

    def realloc(self, given: int, result: int, size: int, stream: int | None = None) -> None:
        if given == 0:
            self.malloc(result, size, None, stream)
        elif result == 0 and size == 0:
            self.free(given, stream)
        elif result == 0:
            self.count("failed")
        elif given not in self.live:
            self.count("unknown realloc")
            self.malloc(result, size, None, stream)
        elif size == 0:
            self.free(given, stream)
            self.malloc(result, size, None, stream)
        else:
            block = self.live.pop(given)
            if result in self.live:
                self.count("again")
                self.rows.append((FREE, self.live.pop(result), None, None, stream))
            self.live[result] = block
            self.rows.append((REALLOC, block, size, None, stream))

    def bad(self) -> None:
        self.rows.append((UNREADABLE, None, None, None, None))


def lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if line.strip(" \t\r"):
            yield line.strip(" \t\r")


def android(text: str) -> Heap:
    heap = Heap()
    for line in lines(text):
        found = re.fullmatch(
            rf"({NUM}): *(?:(malloc) +({HEX}) +({NUM})|(calloc) +({HEX}) +({NUM}) +({NUM})|(memalign) +({HEX}) +({NUM}) +({NUM})"
            rf"|(realloc) +({HEX}) +({HEX}) +({NUM})|(free) +({HEX}))(?: +{NUM} +{NUM})?|({NUM}): *thread_done +{HEX}(?: +{NUM})?",
            line,
        )
        if found is None:
            heap.bad()
            continue
        words = [word for word in found.groups() if word is not None]
        if len(words) == 1:
            continue
        tid, call, given = number(words[0]), words[1], words[2:]
        if call == "malloc":
            heap.malloc(pointer(given[0]), number(given[1]), None, tid)
        elif call == "calloc":
            heap.malloc(pointer(given[0]), min(number(given[1]) * number(given[2]), 2**61), None, tid)
        elif call == "memalign":
            heap.malloc(pointer(given[0]), number(given[2]), number(given[1]), tid)
        elif call == "realloc":
            heap.realloc(pointer(given[1]), pointer(given[0]), number(given[2]), tid)
        else:
            heap.free(pointer(given[0]), tid)
    return heap


STRICT = r"(?:0x[0-9a-f]{1,16}|\(nil\)|0)"


def mtrace(text: str) -> Heap:
    heap = Heap()
    waiting: int | None = None
    for line in lines(text):
        two = re.fullmatch(rf"(?:.*[ \t])?([+>!])[ \t]+({STRICT})[ \t]+({STRICT})", line)
        one = re.fullmatch(rf"(?:.*[ \t])?([-<])[ \t]+({STRICT})", line)
        if line.startswith("=") and not two and not one:
            continue
        if two and two[1] == ">" and waiting is not None:
            heap.realloc(waiting, pointer(two[2]), pointer(two[3]))
            waiting = None
            continue
        if waiting is not None:
            heap.free(waiting)
            heap.count("half")
            waiting = None
        if one and one[1] == "<":
            waiting = pointer(one[2])
        elif one:
            heap.free(pointer(one[2]))
        elif two and two[1] == "!":
            heap.count("failed")
        elif two:
            heap.malloc(pointer(two[2]), pointer(two[3]))
        else:
            heap.bad()
    return heap


def logalloc(text: str) -> Heap:
    heap = Heap()
    first: str | None = None
    threads: dict[str, int] = {}
    handle = rf"(?:#{NUM}|{HEX})"
    for line in lines(text):
        head = re.match(rf"({NUM})(?: ({NUM}))? ", line)
        call = line[head.end() :] if head else ""
        two = re.fullmatch(
            rf"(calloc|memalign|posix_memalign|aligned_alloc)\(({NUM}),({NUM})\)=({handle})|(malloc|valloc)\(({NUM})\)=({handle})"
            rf"|(realloc)\(({handle}),({NUM})\)=({handle})|(free)\(({handle})\)",
            call,
        )
        if head is None or two is None:
            name = call.partition("(")[0]
            known = name in ("calloc", "memalign", "posix_memalign", "aligned_alloc", "malloc", "valloc", "realloc", "free")
            if not (head and re.fullmatch(r"\w+\(.*\)", call, re.ASCII) and not known):
                heap.bad()
            continue
        first = head[1] if first is None else first
        if head[1] != first:
            continue
        tid = threads.setdefault(head[2] or head[1], len(threads))
        words = [word for word in two.groups() if word is not None]

        def of(text: str) -> int:
            return number(text[1:]) if text.startswith("#") else pointer(text)

        if words[0] == "malloc":
            heap.malloc(of(words[2]), number(words[1]), None, tid)
        elif words[0] == "valloc":
            heap.malloc(of(words[2]), number(words[1]), 4096, tid)
        elif words[0] == "calloc":
            heap.malloc(of(words[3]), min(number(words[1]) * number(words[2]), 2**61), None, tid)
        elif words[0] == "realloc":
            heap.realloc(of(words[1]), of(words[3]), number(words[2]), tid)
        elif words[0] == "free":
            heap.free(of(words[1]), tid)
        else:
            heap.malloc(of(words[3]), number(words[2]), number(words[1]), tid)
    return heap


def heaptrack(text: str) -> Heap:
    heap = Heap()
    infos: list[int] = []
    live: dict[int, list[int]] = {}
    interpreted, handle, command = False, 0, False

    def bad() -> None:
        if command:
            heap.count("command")
        else:
            heap.bad()

    for line in lines(text):
        words = line.split()
        hexes = [int(word, 16) for word in words[1:] if re.fullmatch(r"(0x)?[0-9a-f]{1,16}", word)]
        whole = len(hexes) == len(words) - 1
        if words[0] == "a" and whole and len(hexes) == 2:
            interpreted = True
            infos.append(hexes[0])
        elif words[0] == "+" and whole and len(hexes) == 1:
            interpreted = True
            if hexes[0] < len(infos):
                handle += 1
                live.setdefault(hexes[0], []).append(handle)
                heap.malloc(-handle, infos[hexes[0]])
                command = False
            else:
                bad()
        elif words[0] == "+" and whole and len(hexes) == 3:
            heap.malloc(hexes[2], hexes[0])
            command = False
        elif words[0] == "-" and whole and len(hexes) == 1 and not interpreted:
            heap.free(hexes[0])
            command = False
        elif words[0] == "-" and whole and len(hexes) == 1 and hexes[0] < len(infos):
            command = False
            if live.get(hexes[0]):
                heap.free(-live[hexes[0]].pop())
            else:
                heap.count("unknown free")
        elif words[0] in "vcAXsxmtiIRS#" and len(words[0]) == 1:
            command = words[0] == "X" or (command and not re.match(r"I +(0x)?[0-9a-f]{1,16}(?![0-9a-f])", line))
        else:
            bad()
    return heap


def rep(text: str) -> Heap:
    heap = Heap()
    header = 0
    begun = False
    for line in lines(text):
        if line.startswith("#"):
            continue
        count = len(line.split())
        if re.fullmatch(rf"{NUM}([ \t]+{NUM})*", line) and not begun and header + count <= 8:
            header += count
            continue
        found = re.fullmatch(rf"([ar])[ \t]+({NUM})[ \t]+({NUM})|(f)[ \t]+({NUM})|(f)[ \t]+(-1)", line)
        if found is None:
            heap.bad()
            continue
        begun = True
        words: list[Any] = [word for word in found.groups() if word is not None]
        if words[0] == "f":
            heap.rows.append((FREE, None if words[1] == "-1" else number(words[1]), None, None, None))
        else:
            heap.rows.append((ALLOC if words[0] == "a" else REALLOC, number(words[1]), number(words[2]), None, None))
    return heap


def wee_alloc(text: str) -> Heap:
    heap = Heap()
    for line in lines(text):
        found = re.fullmatch(rf"(Alloc|Free)\(({NUM})\),?", line)
        if found is None:
            heap.bad()
        elif found[1] == "Alloc":
            heap.rows.append((ALLOC, heap.next, number(found[2]), None, None))
            heap.next += 1
        else:
            heap.rows.append((FREE, number(found[2]), None, None, None))
    return heap


def rmm(text: str) -> Heap:
    heap = Heap()
    streams: dict[str, int] = {}
    for line in lines(text):
        if not re.match(rf"{NUM},", line):  # a header, or a line of the program that logs
            continue
        found = re.fullmatch(
            rf"({NUM}),((?:[0-9]+-[0-9-]+[ T])?[0-9]+(?::[0-9]+:[0-9]+)?(?:[.:][0-9]+)?),"
            rf"(allocate|allocate failure|free|deallocate),({HEX}|),({NUM}),(\w*|\(nil\))",
            line,
            re.ASCII,
        )
        if found is None or (not found[4] and found[3] != "allocate failure"):
            heap.bad()
            continue
        stream = found[6] if re.fullmatch(HEX, found[6]) else "0x0"
        code = streams.setdefault(str(pointer(stream)), len(streams))
        if found[3] == "allocate failure":
            heap.count("failed")
        elif found[3] == "allocate":
            heap.malloc(pointer(found[4]), number(found[5]), None, code)
        else:
            heap.free(pointer(found[4]), code)
    return heap


READERS: dict[str, Callable[[str], Heap]] = {
    "android": android,
    "mtrace": mtrace,
    "logalloc": logalloc,
    "heaptrack": heaptrack,
    "rep": rep,
    "rmm": rmm,
    "wee_alloc": wee_alloc,
}
