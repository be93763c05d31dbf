"""vLLM's block pool and scheduler written from their rules: lists of blocks, dictionaries of hashes, one step at a time.

Contents are real lists of tokens; the hash of a block is the tuple of all tokens up to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Request:
    arrival: int  # step
    name: str
    tokens: list[int]  # prompt, then the answer so far
    output: int  # tokens of the whole answer
    answer: list[int]  # its tokens
    done: int = 0
    made: int = 0
    blocks: list[int] = field(default_factory=list)
    hashed: int = 0  # blocks of it that have their hashes


@dataclass
class Model:
    """`events` are (step, request, event, block)."""

    requests: list[Request]
    blocks: int  # with the null block
    caching: bool = True
    budget: int = 8192
    running_most: int = 256
    gate: bool = True
    lookahead: int = 0
    watermark: float = 0.0
    page: int = 16
    events: list[tuple[int, str, str, int]] = field(default_factory=list)
    steps: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = list(range(1, self.blocks))
        self.count = [0] * self.blocks
        self.hash_of: dict[int, tuple[int, ...]] = {}
        self.blocks_of: dict[tuple[int, ...], list[int]] = {}
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self.preemptions = self.computed = self.hits = self.evictions = 0

    def hash_at(self, request: Request, k: int) -> tuple[int, ...]:
        return tuple(request.tokens[: (k + 1) * self.page])

    def take(self, request: Request, need: int) -> None:
        for _ in range(need):
            block = self.queue.pop(0)
            if block in self.hash_of:
                same = self.blocks_of[self.hash_of.pop(block)]
                same.remove(block)
                self.evictions += 1
            self.count[block] = 1
            request.blocks.append(block)
            self.events.append((self.step, request.name, "take", block))

    def hash_full(self, request: Request, tokens: int) -> None:
        if not self.caching:
            return
        for k in range(request.hashed, min(tokens, len(request.tokens)) // self.page):
            key = self.hash_at(request, k)
            self.hash_of[request.blocks[k]] = key
            self.blocks_of.setdefault(key, []).append(request.blocks[k])
            request.hashed = k + 1

    def give_back(self, request: Request) -> None:
        plain = []
        for block in reversed(request.blocks):
            self.count[block] -= 1
            self.events.append((self.step, request.name, "free", block))
            if self.count[block] == 0:
                if block in self.hash_of:
                    self.queue.append(block)
                else:
                    plain.append(block)
        self.queue[:0] = plain
        request.blocks, request.hashed = [], 0

    def run(self) -> None:
        left = sorted(self.requests, key=lambda request: request.arrival)
        self.step = 0
        while left or self.waiting or self.running:
            self.step += 1
            while left and left[0].arrival <= self.step:
                self.waiting.append(left.pop(0))
            self.one_step()

    def need(self, request: Request, n: int) -> int:
        return max(0, -(-(request.done + n + self.lookahead) // self.page) - len(request.blocks))

    def one_step(self) -> None:
        budget, preempted, scheduled = self.budget, False, []
        at = 0
        while at < len(self.running) and budget > 0:
            request = self.running[at]
            n = min(len(request.tokens) - request.done, budget)
            mine = False
            while self.need(request, n) > len(self.queue):
                victim = self.running.pop()
                preempted = True
                self.preemptions += 1
                self.give_back(victim)
                victim.done = 0
                self.waiting.insert(0, victim)
                mine = victim is request
                if mine:
                    break
            if mine:
                break
            self.take(request, self.need(request, n))
            self.hash_full(request, request.done + n)
            budget -= n
            scheduled.append((request, n))
            at += 1
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.running_most:
            request = self.waiting[0]
            known, hits = len(request.tokens), []
            if self.caching:
                for k in range((known - 1) // self.page):
                    same = self.blocks_of.get(self.hash_at(request, k))
                    if not same:
                        break
                    hits.append(same[0])
            done = len(hits) * self.page
            idle = sum(self.count[block] == 0 for block in hits)
            n = min(known - done, budget)
            extra = int(self.watermark * self.blocks) if self.running else 0
            free = len(self.queue)
            if self.gate and -(-known // self.page) - len(hits) + idle + extra > free:
                break
            if -(-(done + n + self.lookahead) // self.page) - len(hits) + idle + extra > free:
                break
            for block in hits:
                if self.count[block] == 0:
                    self.queue.remove(block)
                self.count[block] += 1
                self.hits += 1
                self.events.append((self.step, request.name, "hit", block))
            request.blocks, request.hashed, request.done = list(hits), len(hits), done
            self.waiting.pop(0)
            self.running.append(request)
            self.take(request, self.need(request, n))
            self.hash_full(request, done + n)
            budget -= n
            scheduled.append((request, n))
        tokens = sum(n for _, n in scheduled)
        self.computed += tokens
        used = self.blocks - 1 - len(self.queue)
        cached = len(self.hash_of)
        self.steps.append(
            (
                self.step,
                tokens,
                len(scheduled),
                len(self.running),
                len(self.waiting),
                used,
                cached,
                self.computed,
                self.preemptions,
            )
        )
        for request, n in scheduled:
            request.done += n
            if request.done == len(request.tokens):
                request.tokens.append(request.answer[request.made])
                request.made += 1
                if request.made == request.output:
                    self.running.remove(request)
                    self.give_back(request)
