"""RMM's arena as superblocks by address, each a list of free ranges that is searched whole."""

from __future__ import annotations

from dataclasses import dataclass

from oracle_pools import round_up


@dataclass
class Super:
    """A superblock of RMM's arena: [start, end), its free ranges by address, and the stream that owns it (None: global)."""

    start: int
    end: int
    free: list[list[int]]
    owner: int | None = None

    @property
    def empty(self) -> bool:
        return self.free == [[self.start, self.end]]

    def fit(self, size: int) -> list[int] | None:
        return next((each for each in self.free if each[1] - each[0] >= size), None)


class RmmArena:
    """RMM's arena: superblocks by address."""

    def __init__(self, held: int | None) -> None:
        extent = 1 << 40 if held is None else held // 256 * 256
        self.held = 0 if held is None else extent  # without a limit the end of the highest superblock that was ever in use
        self.supers = [Super(0, extent, [[0, extent]])]
        self.live: dict[int, int] = {}

    def holes(self) -> list[int]:
        return [min(end, self.held) - start for each in self.supers for start, end in each.free if start < self.held]

    def first(self, owner: int | None, size: int) -> Super | None:
        return next((each for each in self.supers if each.owner == owner and each.fit(size)), None)

    def cut(self, found: Super, size: int) -> None:
        part = max(size, 1 << 20)
        if found.empty and found.end - found.start >= part + (1 << 20):
            at = self.supers.index(found)
            middle = found.start + part
            self.supers[at : at + 1] = [
                Super(found.start, middle, [[found.start, middle]]),
                Super(middle, found.end, [[middle, found.end]]),
            ]

    def find(self, size: int, stream: int) -> Super | None:
        if size > 1 << 20:
            found = self.first(None, size)
            if found:
                self.cut(found, size)
            return self.first(None, size)
        own = self.first(stream, size)
        if own:
            return own
        found = self.first(None, size)
        if found:
            self.cut(found, size)
            found = self.first(None, size)
            assert found
            found.owner = stream
        return found

    def alloc(self, size: int, stream: int) -> int | None:
        size = round_up(size, 256)
        found = self.find(size, stream)
        if found is None:
            for each in self.supers:
                each.owner = None
            self.join()
            found = self.find(size, stream)
        if found is None:
            return None
        self.held = max(self.held, found.end)
        place = found.fit(size)
        assert place
        address = place[0]
        place[0] += size
        found.free = [each for each in found.free if each[0] < each[1]]
        self.live[address] = size
        return address

    def free(self, address: int, stream: int) -> None:
        found = next(each for each in self.supers if each.start <= address < each.end)
        joined: list[list[int]] = []
        for each in sorted([*found.free, [address, address + self.live.pop(address)]]):
            if joined and joined[-1][1] == each[0]:
                joined[-1][1] = each[1]
            else:
                joined.append(each)
        found.free = joined
        self.join()

    def join(self) -> None:
        """Join empty neighbours of the global arena."""
        joined: list[Super] = []
        for each in self.supers:
            last = joined[-1] if joined else None
            if last and last.owner is None and each.owner is None and last.empty and each.empty:
                joined[-1] = Super(last.start, each.end, [[last.start, each.end]])
            else:
                joined.append(each)
        self.supers = joined
