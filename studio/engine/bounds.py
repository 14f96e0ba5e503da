"""What opening a file may take: a hostile or broken one must not fill the memory or keep the engine for ever.

The bound lies outside the process that parses: whatever native code does there, the caller's process looks at it from
outside and ends it. Memory is what the worker alone holds (``RssAnon`` of Linux's ``/proc``: mapped files do not count,
the system takes their pages back); other systems do not tell a parent of it without more libraries, so there the time
alone is bounded.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from studio.engine.requests import CheckData, GuessData, OpenModel, Request, TrustProgram
from studio.errors import DataError, ModelFileError, StudioError
from studio.machine import machine_memory

#: Bytes that the smallest file may take, and how many more for each of its bytes: a graph, its layers and one run.
LEAST_MEMORY = 4 << 30
MEMORY_PER_BYTE = 16

#: … but no more than this share of the machine's memory.
MOST_OF_MEMORY = 0.75

#: Seconds between two looks at a worker that count at most: whoever looks is held up too where more have passed.
LONGEST_LOOK = 5.0

#: Seconds that the smallest file may take, and how many of its bytes another second is for.
LEAST_SECONDS = 120.0
BYTES_PER_SECOND = 4 << 20


@dataclass(frozen=True)
class Bounds:
    """What one request may take.

    Attributes:
        name: of the file that is parsed.
        kind: of the error that says it took more.
        memory: bytes beyond what the worker held when it began.
        seconds: from when it began.
    """

    name: str
    kind: type[StudioError]
    memory: float
    seconds: float

    def excess(self, memory: int | None, seconds: float) -> StudioError | None:
        """What to say of having taken so much, None while it is within bounds; unknown memory is taken for little."""
        if memory is not None and memory > self.memory:
            took = f"more than {self.memory / 1e9:.3g} GB of memory"
        elif seconds > self.seconds:
            took = f"more than {self.seconds:.0f} seconds"
        else:
            return None
        return self.kind(
            f"{self.name}: opening it took {took} and was stopped: it is damaged, or far larger inside than outside. "
            "If you trust it, use it on the command line, which sets no limit."
        )

    def crash(self, code: int | None) -> StudioError:
        """What to say where the worker ended while the file was parsed: native code answers some damage like that."""
        return self.kind(
            f"{self.name}: opening it ended the engine's process (exit code {code}): the file is most likely damaged. "
            "Nothing else is lost."
        )


def bounds_of(request: Request[Any]) -> Bounds | None:
    """What a request may take that parses a file which nobody has looked at yet; None for all others.

    A guess measures the model on the data too, which takes what it takes: it only may not take the whole machine.
    """
    most = MOST_OF_MEMORY * machine_memory()
    kind: type[StudioError] = ModelFileError
    if isinstance(request, OpenModel | TrustProgram):
        path = Path(request.path)
        size = _size_around(path)
    elif isinstance(request, CheckData):
        path, kind = Path(request.data), DataError
        size = 0 if path.is_dir() else _size_around(path)
    elif isinstance(request, GuessData):
        return Bounds(Path(request.data).name, DataError, most, inf)
    else:
        return None
    memory = min(LEAST_MEMORY + MEMORY_PER_BYTE * size, most)
    return Bounds(path.name, kind, memory, LEAST_SECONDS + size / BYTES_PER_SECOND)


def unlimited(request: Request[Any]) -> Bounds | None:
    """The same without limits, where a person waits who can end it."""
    found = bounds_of(request)
    return replace(found, memory=inf, seconds=inf) if found else None


def _size_around(path: Path) -> int:
    """Bytes of a file with all that lies beside it, where its weights or arrays may be, or of a folder's own files."""
    try:
        folder = path if path.is_dir() else path.parent
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
    except OSError:
        return 0  # whoever opens it says what is wrong


def own_memory(process: int) -> int | None:
    """Bytes that a process alone holds; None where the system does not say, or the process has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else None


@dataclass
class Watched:
    """A request under way, from when the worker began with it.

    Attributes:
        bounds: that it must keep to.
        process: id of the worker.
        memory: tells what that process holds.
        clock: tells seconds.
    """

    bounds: Bounds
    process: int
    memory: Callable[[int], int | None]
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self._held = self.memory(self.process) or 0
        self._last, self._taken = self.clock(), 0.0

    def excess(self) -> StudioError | None:
        """See `Bounds.excess`; time in which nobody looks, such as that of a machine asleep, does not count."""
        held, now = self.memory(self.process), self.clock()
        self._taken += min(now - self._last, LONGEST_LOOK)
        self._last = now
        return self.bounds.excess(None if held is None else held - self._held, self._taken)
