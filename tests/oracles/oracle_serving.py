"""Continuous batching written from its definition: lists of sequences, one token at a time."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Sequence:
    request: int
    held: int
    room: int
    blocks: list[int] = field(default_factory=list)


def power_above(number: int) -> int:
    return 1 << max(0, (number - 1).bit_length())


@dataclass
class Server:
    """`events` are (op, size) with sizes in tokens; (computed, running) of each iteration are in `iterations`."""

    kind: str
    page: int
    longest: int
    most_running: int
    capacity: int
    prompt: list[int]
    output: list[int]
    arrival: list[int]
    cost: tuple[int, float, float]
    clock: int = 0
    running: list[Sequence] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    iterations: list[tuple[int, int]] = field(default_factory=list)
    held: int = 0
    reserved: int = 0

    def __post_init__(self) -> None:
        self.free = self.capacity // self.page * self.page if self.kind == "pages" else self.capacity
        self.waiting = list(range(len(self.prompt)))
        self.made = [0] * len(self.prompt)

    def room_for(self, request: int, held: int) -> int:
        prompt, output = self.prompt[request], self.output[request]
        return {
            "max": self.longest,
            "pow2": min(prompt + power_above(output), max(self.longest, prompt + output)),
            "oracle": prompt + output,
            "grow": power_above(held + 1),
            "pages": -(-held // self.page) * self.page,
        }[self.kind]

    def let_go(self, sequence: Sequence) -> None:
        self.free += sequence.room
        count = sequence.room // self.page if self.kind == "pages" else 1
        self.events += [("free", 0)] * count

    def make_room(self) -> None:
        place = 0
        while place < len(self.running):
            sequence = self.running[place]
            if sequence.held < sequence.room or (self.kind == "pages" and sequence.held == sequence.room):
                place += 1
                continue
            more = self.page if self.kind == "pages" else 2 * sequence.room
            if more > self.free:
                last = self.running.pop()
                self.preempted_now = True
                self.preempted.append(last.request)
                self.let_go(last)
                continue
            if self.kind == "pages":
                self.events.append(("alloc", self.page))
                sequence.room += more
                self.free -= more
            else:
                self.events += [("alloc", more), ("copy", sequence.held), ("free", 0)]
                self.free += sequence.room - more
                sequence.room = more
            place += 1

    def admit(self) -> int:
        computed = 0
        while len(self.running) < self.most_running:
            if self.preempted:
                request = self.preempted[-1]
            elif self.waiting and self.arrival[self.waiting[0]] <= self.clock:
                request = self.waiting[0]
            else:
                break
            held = self.prompt[request] + self.made[request]
            room = self.room_for(request, held)
            if room > self.free:
                break
            self.free -= room
            self.events += [("alloc", self.page)] * (room // self.page) if self.kind == "pages" else [("alloc", room)]
            self.running.append(Sequence(request, held, room))
            computed += held - 1
            (self.preempted if self.preempted else self.waiting).remove(request)
        return computed

    def run(self) -> None:
        while self.running or self.preempted or self.waiting:
            if not self.running and not self.preempted:
                self.clock = max(self.clock, self.arrival[self.waiting[0]])
            self.preempted_now = False
            self.make_room()
            computed = 0 if self.preempted_now else self.admit()
            ran = len(self.running)
            self.iterations.append((computed + ran, ran))
            for sequence in self.running:
                sequence.held += 1
                self.made[sequence.request] += 1
            now = sum(sequence.held - (self.kind == "pages") for sequence in self.running)
            self.held += now
            self.reserved += sum(sequence.room for sequence in self.running)
            for sequence in [each for each in self.running if self.made[each.request] >= self.output[each.request]]:
                self.running.remove(sequence)
                self.let_go(sequence)
            base, per_held, per_token = self.cost
            self.clock += int(base + now * per_held + (computed + ran) * per_token)
