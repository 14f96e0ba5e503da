"""What Linux tells of processes from outside: memory, and time of the processor."""

import os
import re
import resource
import sys
import time
from pathlib import Path


def peak_memory() -> int:
    """Bytes that this process and its children have held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + sum(map(peak_of, children_of(os.getpid())))


def peak_of(process: int) -> int:
    """Bytes that another process has held at most; 0 where the system does not tell."""
    found = re.search(r"VmHWM:\s+(\d+) kB", read_of(process, "status"))
    return 1024 * int(found[1]) if found else 0


def seconds_of(process: int) -> float:
    """Seconds of the processor that a process and its children have used; of the clock where it is not told."""
    times = read_of(process, "stat").rpartition(")")[2].split()
    if not times:
        return time.monotonic()
    own = sum(map(int, times[11:15])) / os.sysconf("SC_CLK_TCK")  # its own and of children that have ended
    return own + sum(map(seconds_of, children_of(process)))


def children_of(process: int) -> list[int]:
    """The processes that a process has started, as far as the system tells; its threads come and go meanwhile."""
    tasks = Path(f"/proc/{process}/task").glob("*")
    return [int(child) for task in tasks for child in read_of(process, f"task/{task.name}/children").split()]


def read_of(process: int, what: str) -> str:
    """One of the files in which Linux tells of a process; empty without it."""
    try:
        return Path(f"/proc/{process}/{what}").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
