"""wasi-libc's dlmalloc as a plain list of chunks, its bins as lists, and its victim and top as what they are."""

from __future__ import annotations

from oracle_embedded import Block, Heap, up

PAGE = 65536


class Dlmalloc(Heap):
    """The list `blocks` has all chunks by address; a free one is the victim, the top, or in the list of its exact size."""

    header, align, least, offset, first, foot = 4, 16, 16, 8, 8, 56

    def open(self, pool: int) -> None:
        self.limit, self.end, self.refused = pool // PAGE * PAGE, 0, False
        self.victim: Block | None = None
        self.top: Block | None = None
        self.bins: dict[int, list[Block]] = {}  # bytes -> free chunks, the next to be taken first

    def enter(self, chunk: Block) -> None:
        """Put a free chunk into its bin: small ones come first, others last."""
        chunks = self.bins.setdefault(chunk[1], [])
        chunks.insert(0 if chunk[1] < 256 else len(chunks), chunk)

    def leave(self, chunk: Block) -> None:
        """Take a free chunk out of its bin."""
        self.bins[chunk[1]] = [each for each in self.bins[chunk[1]] if each is not chunk]
        if not self.bins[chunk[1]]:
            del self.bins[chunk[1]]

    def split(self, chunk: Block, size: int) -> Block | None:
        """Shorten a chunk that is in no bin if the rest is a chunk, which is returned, free and in no bin."""
        if chunk[1] - size < self.least:
            return None
        rest = [chunk[0] + size, chunk[1] - size, 0]
        self.blocks.insert(self.blocks.index(chunk) + 1, rest)
        chunk[1] = size
        return rest

    def alloc(self, n: int) -> int | None:
        size = self.size_of(n)
        chunk = self.binned(size)
        if chunk is None and self.victim is not None and self.victim[1] >= size:
            chunk = self.victim
            self.victim = self.split(chunk, size)
        if chunk is None:
            if self.top is None or self.top[1] <= size:
                self.grow_top(size)
            if self.top is None or self.top[1] <= size:
                return None
            chunk = [self.top[0], size, 0]
            self.blocks.insert(len(self.blocks) - 1, chunk)
            self.top[0], self.top[1] = self.top[0] + size, self.top[1] - size
        chunk[2] = 1
        return self.payload(chunk[0])

    def binned(self, size: int) -> Block | None:
        """A chunk from the bins, if one is to serve the request."""
        fits = sorted(bytes for bytes in self.bins if bytes >= size)
        if not fits:
            return None
        victim, chunk = self.victim[1] if self.victim else 0, self.bins[fits[0]][0]
        if size < 256 and fits[0] <= min(size + 8, 255):
            self.leave(chunk)
            return chunk
        if size < 256:
            if victim >= size:
                return None
            self.leave(chunk)
            rest = self.split(chunk, size)
            if rest is not None:
                if self.victim is not None:
                    self.enter(self.victim)
                self.victim = rest
            return chunk
        if victim >= size and fits[0] >= victim:
            return None
        self.leave(chunk)
        rest = self.split(chunk, size)
        if rest is not None:
            self.enter(rest)
        return chunk

    def grow_top(self, size: int) -> None:
        own = 0 if self.top is None or self.refused else self.top[1]
        more = up(size - own + self.foot + self.align, PAGE)
        if self.end + more > self.limit:
            self.refused = True
            more = up(size + self.foot + self.align, PAGE)
            if self.end + more > self.limit:
                return
        self.end += more
        if self.top is None:
            self.top = [self.first, more - self.foot - self.first, 0]
            self.blocks.append(self.top)
        else:
            self.top[1] += more

    def neighbours(self, block: Block) -> tuple[Block | None, Block | None]:
        i = next(i for i, each in enumerate(self.blocks) if each is block)
        before = self.blocks[i - 1] if i and not self.blocks[i - 1][2] else None
        after = self.blocks[i + 1] if i + 1 < len(self.blocks) and not self.blocks[i + 1][2] else None
        return before, after

    def release(self, block: Block) -> Block:
        before, after = self.neighbours(block)
        block[2] = 0
        whole = block
        for lower, upper in ((before, block), (before or block, after)):
            if lower is None or upper is None:
                continue
            for each in (lower, upper):
                if each is not block and each is not whole and each is not self.victim and each is not self.top:
                    self.leave(each)
            if lower is self.victim or upper is self.victim:
                self.victim = lower
            if self.top is upper:
                self.top, self.victim = lower, None if self.victim is lower else self.victim
            lower[1] += upper[1]
            self.blocks = [each for each in self.blocks if each is not upper]
            whole = lower
        if whole is not self.victim and whole is not self.top:
            self.enter(whole)
        return whole

    def realloc(self, address: int, n: int) -> int | None:
        block, size = self.at(address), self.size_of(n)
        after = self.neighbours(block)[1]
        if size <= block[1]:
            if block[1] - size >= self.least:
                self.cut_off(block, size)
            return address
        reach = block[1] + (after[1] if after else 0)
        if after is None or reach < size or (after is self.top and reach == size):
            return self.moved(address, n)
        if after is not self.top and after is not self.victim:
            self.leave(after)
        if reach - size < self.least and after is not self.top:
            self.blocks = [each for each in self.blocks if each is not after]
            self.victim = None if after is self.victim else self.victim
            block[1] = reach
            return address
        after[0], after[1], block[1] = block[0] + size, reach - size, size
        if after is not self.top and after is not self.victim:
            self.enter(after)
        return address


class Dlmalloc8(Dlmalloc):
    align, first, foot = 8, 0, 40


class Dlmalloc64(Dlmalloc):
    header, least, offset, first, foot = 8, 32, 16, 0, 80
