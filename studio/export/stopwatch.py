"""Runs ONNX files against the clock, in a process of its own: nothing else computes there, no torch is loaded.

``python -m studio.export.stopwatch JOB`` reads a `Job` as JSON and prints one JSON object a line: ``{"share": …}``
while it works, the `Laps` at the end. Files take turns in blocks of runs, so that what slows the machine for a while
slows them alike; within a block a file runs again and again, as in use, with its weights in the processor's cache.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

#: Seconds of one block of runs.
BLOCK = 0.05

#: Blocks that every file gets at least: the fewest that give their median a 95 % interval.
FEWEST = 6

#: Runs of a file before the first that counts, and seconds that they take at least, unless one takes longer.
WARM_UP, WARM_SECONDS = 3, 0.2

#: Runs that are profiled, and the seconds they take at most.
PROFILED, PROFILE_SECONDS = 60, 2.0

#: Where Linux tells what a process holds.
_RESIDENT = Path("/proc/self/statm")

_ERRORS_ONLY = 3
_NODE = "_kernel_time"

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        files: the ONNX files.
        inputs: an ``.npz`` file with one array for each input, by name.
        threads: to compute with.
        seconds: for each file.
        profile: folder that the runtime's profiles are written to; empty does without.
    """

    files: list[str]
    inputs: str
    threads: int
    seconds: float
    profile: str


def session(path: str, threads: int, profile: Path | None = None) -> ort.InferenceSession:
    """The runtime with its own optimizations, none added or left out."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def memory_held(paths: list[str], threads: int, feed: Feed) -> list[int]:
    """Bytes that the runtime comes to hold for each file and one run of it; nothing where the system does not tell.

    Each in a fresh process, split off before the runtime has done anything here, so that none finds memory that another
    has left. The runtime itself counts: some 20 MB, whatever the size of the model.
    """
    if not _RESIDENT.exists():
        return []
    held = []
    for path in paths:
        with ProcessPoolExecutor(1, get_context("fork")) as other:
            held.append(other.submit(_held, path, threads, feed).result())
    return held


def _held(path: str, threads: int, feed: Feed) -> int:
    before = _resident()
    one = session(path, threads)
    one.run(None, feed)
    return _resident() - before


def _resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(_RESIDENT.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed_blocks(sessions: list[ort.InferenceSession], feed: Feed, seconds: float) -> Iterator[list[list[float]]]:
    """Seconds of every run in a block of each session, block after block, in turns that change direction."""
    for one in sessions:
        _warm_up(one, feed)
    spent, number = 0.0, 0
    while number < FEWEST or spent < seconds * len(sessions):
        turns = list(enumerate(sessions))
        runs: list[list[float]] = [[] for _ in sessions]
        for place, one in turns if number % 2 == 0 else reversed(turns):
            runs[place] = _block(one, feed)
            spent += sum(runs[place])
        number += 1
        yield runs


def kernel_times(path: str, job: Job, feed: Feed, folder: Path) -> dict[str, list[float]]:
    """Milliseconds of every node that the runtime ran, by ``operator:name``, one for each run."""
    one = session(path, job.threads, folder / "profile")
    began = time.perf_counter()
    for count in range(PROFILED + 1):  # the first does not count
        one.run(None, feed)
        if count and time.perf_counter() - began > PROFILE_SECONDS:
            break
    written = Path(one.end_profiling())
    times: dict[str, list[float]] = {}
    for event in json.loads(written.read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith(_NODE):
            key = f"{event['args'].get('op_name', '')}:{event['name'].removesuffix(_NODE)}"
            times.setdefault(key, []).append(event["dur"] / 1000)
    written.unlink()
    return {key: values[1:] for key, values in times.items()}


def _warm_up(one: ort.InferenceSession, feed: Feed) -> None:
    began = time.perf_counter()
    for count in range(1000):
        one.run(None, feed)
        if count + 1 >= WARM_UP and time.perf_counter() - began >= WARM_SECONDS:
            return


def _block(one: ort.InferenceSession, feed: Feed) -> list[float]:
    """Seconds of the runs of a block; the first, which finds the other file's weights in the cache, does not count."""
    began = time.perf_counter()
    one.run(None, feed)
    times = [time.perf_counter() - began]
    if times[0] >= BLOCK:
        return times  # so slow that the cache makes no difference
    while sum(times) < BLOCK:
        start = time.perf_counter()
        one.run(None, feed)
        times.append(time.perf_counter() - start)
    return times[1:] or times


def run(job: Job) -> Iterator[dict[str, Any]]:
    """What is printed, line by line."""
    with np.load(job.inputs) as arrays:
        feed = dict(arrays)
    memory = memory_held(job.files, job.threads, feed)
    laps: list[list[list[float]]] = [[] for _ in job.files]
    sessions = [session(path, job.threads) for path in job.files]
    spent = 0.0
    for runs in timed_blocks(sessions, feed, job.seconds):
        for lap, block in zip(laps, runs, strict=True):
            lap.append(block)
        spent += sum(map(sum, runs))
        yield {"share": min(1.0, spent / (job.seconds * len(job.files)))}
    del sessions
    kernels = [kernel_times(path, job, feed, Path(job.profile)) for path in job.files] if job.profile else []
    yield {"laps": laps, "kernels": kernels, "memory": memory, "version": ort.__version__}


def main() -> None:
    """Reads the job that the command line names and prints what comes of it."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    for line in run(job):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
