"""Distillations that are killed, and distillations that are cancelled: what is left of them.

    python tests/benchmarks/kills.py [kills] [cancels] [--times N] [--seed S]

``kills``: ``studio distill`` on the digits sample with a checkpoint after every step, killed (SIGKILL) N times and
resumed each time. The moments are spread evenly over the run's steps, one more is before its first and one behind its
last; every other one is while a checkpoint is being written. Every file that is found must be whole, and the last run
must export the very file of a run that nobody disturbed.
``cancels``: one engine in a process of its own begins N distillations, each cancelled in mid-epoch. Printed after each:
the engine's resident memory, its threads, and the files in the run's folder.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from rich.console import Console
from rich.table import Table

from studio.distillation.checkpoint import load_checkpoint
from studio.distillation.folder import FILE, has_checkpoint, is_resumable
from studio.distillation.settings import DistillSettings
from studio.engine.door import Lane
from studio.engine.process import ProcessEngine
from studio.engine.requests import Distill, Source
from studio.progress import Cancelled
from studio.recipe.recipe import Recipe
from studio.resources import samples

RECIPE = {"studio": 1, "default": {"prune": {"kind": "unstructured", "ratio": 0.9}}}

#: Passes of the run that is killed over the data.
EPOCHS = 1

#: Samples of a step, and of the sample's training data.
BATCH, TRAINED = 32, 4000

say = Console(width=120, highlight=False).print


class Killed:
    """A distillation that is started, killed and resumed.

    Args:
        folder: for its files.
        epochs: of the run.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        digits = samples()["digits"]
        folder.mkdir()
        recipe = folder / "sparse.recipe.yaml"
        recipe.write_text(json.dumps(RECIPE), encoding="utf-8")
        self.out = folder / "small.onnx"
        self.run = folder / "small.onnx.training"
        given = ["--data", digits.train, "--eval", digits.test, "--recipe", recipe, "--out", self.out]
        chosen = ["--epochs", epochs, "--batch-size", BATCH, "--checkpoint-seconds", 0, "--json"]
        self._command = [sys.executable, "-m", "studio", "distill", *map(str, [digits.model, *given, *chosen])]

    def begin(self) -> "subprocess.Popen[str]":
        """Starts it, or goes on where there is a checkpoint."""
        resume = ["--resume"] if is_resumable(self.run) else []
        return subprocess.Popen([*self._command, *resume], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def finish(self) -> tuple[float, str]:
        """Lets it come to its end; gives the metric and the hash of the exported file.

        Raises:
            RuntimeError: it fails.
        """
        process = self.begin()
        told, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"studio distill ended with {process.returncode}")
        return json.loads(told)["metric"]["after"], hashlib.sha256(self.out.read_bytes()).hexdigest()[:12]

    def saved(self) -> int:
        """The step of the checkpoint, which must be whole, 0 without one."""
        return load_checkpoint(self.run).state.step if has_checkpoint(self.run) else 0

    def step(self) -> int:
        """The step of the checkpoint by its header alone, 0 without one: asked hundreds of times a second."""
        try:
            with (self.run / FILE).open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        except FileNotFoundError:
            return 0
        return int(json.loads(header["__metadata__"]["studio"])["state"]["step"])

    def half_written(self) -> int:
        """How many checkpoints are being written, or were when the process was killed."""
        return len(list(self.run.glob(f".{FILE}.*")))

    def kill(self, aimed: int, later: float, *, writing: bool) -> None:
        """Starts it and kills it.

        Args:
            aimed: step of the checkpoint from which on it is killed.
            later: seconds that pass then.
            writing: waits for a checkpoint that is being written.
        """
        process, stale = self.begin(), self.half_written()
        while process.poll() is None and self.step() < aimed:
            time.sleep(0.005)
        time.sleep(later)
        while process.poll() is None and writing and self.half_written() <= stale:
            stale = min(stale, self.half_written())
        process.kill()
        process.wait()


def kills(times: int, seed: int, folder: Path) -> None:
    """See the module.

    Raises:
        RuntimeError: something was lost.
    """
    whole, killed = Killed(folder / "whole", EPOCHS), Killed(folder / "killed", EPOCHS)
    value, exported = whole.finish()
    random_ = random.Random(seed)
    last = EPOCHS * ceil(TRAINED / BATCH)
    spread = [round(last * (number + random_.random()) / (times - 2)) for number in range(times - 2)]
    aims = [0, *(min(max(1, step), last - 1) for step in spread), last]
    table = Table("kill", "aimed at step", "while writing", "whole checkpoint", "half-written beside it")
    before = 0
    for number, aimed in enumerate(aims, start=1):
        writing = number % 2 == 0 and 0 < aimed < last
        killed.kill(aimed, random_.uniform(0, 0.2) if aimed else random_.uniform(0.5, 2), writing=writing)
        found = killed.saved()
        told = (number, aimed, "yes" if writing else "", f"step {found}", killed.half_written())
        table.add_row(*map(str, told))
        say(*told)
        if found < before or killed.out.exists():
            raise RuntimeError(f"after kill {number}: step {found} follows {before}")
        before = found
    after, file = killed.finish()
    say(table)
    say(f"undisturbed {value:.2f} {exported}; after {times} kills {after:.2f} {file}; same file: {file == exported}")
    say(f"left in the folder: {sorted(path.name for path in killed.out.parent.iterdir())}")


def cancels(times: int, folder: Path) -> None:
    """See the module."""
    digits = samples()["digits"]
    engine = ProcessEngine(threads=1)
    source = Source(str(digits.model), Recipe.model_validate(RECIPE))
    settings = DistillSettings(epochs=50, checkpoint_seconds=0)
    try:
        for number in range(times):
            kept, begun = folder / f"run{number}", Event()
            request = Distill(source, str(digits.train), str(digits.test), settings, str(folder / "weights"))
            call = engine.start(
                request,
                lane=Lane.MEASURE,
                publish=lambda point, begun=begun: begun.set() if point.step >= 20 else None,  # type: ignore[misc]
            )
            begun.wait()
            asked = time.monotonic()
            call.cancel()
            try:
                call.future.result()
            except (Cancelled, CancelledError):
                took = time.monotonic() - asked
            left = [path for place in (kept, folder / "weights") if place.exists() for path in place.iterdir()]
            say(f"cancel {number + 1}: {_status(engine.process_id)}, back after {took:.2f} s, files left: {len(left)}")
    finally:
        engine.close()


def _status(process: int | None) -> str:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return f"{int(lines['VmRSS'].split()[0]) / 1024:.1f} MB resident, {lines['Threads'].strip()} threads"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["kills", "cancels"])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        if "kills" in chosen.what:
            kills(chosen.times, chosen.seed, Path(folder))
        if "cancels" in chosen.what:
            cancels(chosen.times, Path(folder))


if __name__ == "__main__":
    main()
