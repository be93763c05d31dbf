"""Read a memray capture in a child process, because memray's reader may crash on a damaged file.

The child, `python -P _capture.py PATH`, writes to its standard output: chunks of a count (int64) and that many records of
four int64 (allocator, address, size, thread), then ENDED; or FAILED and the text of a message.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

CHUNK = 1 << 14  # records written at once
ENDED, FAILED, CRASHED = -1, -2, -3  # how the reading ended; written in place of a chunk's count
MOST_MEMORY = 8 << 30  # bytes of address space that the child may have
SIGN = 1 << 63

Record = list[int]


class Capture:
    """Read the records of a capture.

    After reading, `how` is ENDED, FAILED or CRASHED, and `message` has the reason if it is not ENDED.
    """

    def __init__(self, path: Path) -> None:
        """Set the path of the capture; nothing is read yet."""
        self.path, self.how, self.message = path, CRASHED, "its reader crashed"

    def records(self) -> Iterator[Record]:
        """Yield the records, as lists of allocator, address, size in bytes and thread."""
        command = [sys.executable, "-P", __file__, str(self.path)]  # -P: `import memray` must not find memray.py in this folder
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            try:
                while len(head := child.stdout.read(8)) == 8:
                    (count,) = struct.unpack("<q", head)
                    if count < 0:
                        self.how = count
                        self.message = child.stdout.read().decode(errors="replace")
                        return
                    data = child.stdout.read(32 * count)
                    yield from np.frombuffer(data[: len(data) // 32 * 32], "<i8").reshape(-1, 4).tolist()
            finally:
                child.kill()


def main(path: str) -> None:
    """Read the capture at `path` with memray, and write its records to standard output; runs in the child process."""
    import resource

    import memray

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    out = sys.stdout.buffer
    try:
        with memray.FileReader(path, report_progress=False) as reader:
            coming = ((int(r.allocator), signed(r.address), r.size, signed(r.tid)) for r in reader.get_allocation_records())
            while some := list(islice(coming, CHUNK)):
                out.write(struct.pack("<q", len(some)) + np.array(some, "<i8").tobytes())
        out.write(struct.pack("<q", ENDED))
    except Exception as error:
        message = (str(error).splitlines() or [type(error).__name__])[0]
        out.write(struct.pack("<q", FAILED) + message.encode())
    out.flush()


def signed(number: int) -> int:
    """Return a number of 64 bits as int64; numbers from 2^63 on wrap round to negative ones."""
    return (int(number) + SIGN) % (2 * SIGN) - SIGN


if __name__ == "__main__":
    main(sys.argv[1])
