"""Takes the time of written models: hands files to the stopwatch's process, and makes sense of what comes back."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from scipy import stats

import studio
from studio.errors import ExportError
from studio.evaluation.intervals import median_interval
from studio.export.attribution import Attribution, by_layer
from studio.export.graph_edit import graph_owners
from studio.export.latency import Latency, LatencySettings, Ratio, Timing
from studio.export.stopwatch import Job
from studio.models.model import Model
from studio.models.onnx_places import graphs_in
from studio.progress import Progress, Report, silent

_MODULE = "studio.export.stopwatch"

#: Share of a node's runs that is left out at either end: what is left is not rounded to whole microseconds, as a
#: median is, and not moved by a run that was interrupted, as a mean is.
_TRIMMED = 0.25

_MILLI = 1000.0

#: Operators whose time is that of the nodes within them.
_AROUND = ("If", "Loop", "Scan")


def measure_latency(
    model: Model, files: Sequence[bytes], settings: LatencySettings, report: Report = silent
) -> Latency:
    """Times a compressed model beside the original, with what each layer takes.

    Args:
        model: the original, which random inputs are made for.
        files: the original and the compressed model as ONNX; one file stands for both where nothing is compressed.
        settings: how to measure.
        report: receives progress; raising `Cancelled` from it ends the work at once.

    Raises:
        ExportError: the runtime refuses a file.
    """
    found = run_stopwatch(model, files, settings, report=report)
    blocks = [np.array([np.median(block) for block in lap]) * _MILLI for lap in found["laps"]]
    timings = [_timing(medians, lap) for medians, lap in zip(blocks, found["laps"], strict=True)]
    layers = [
        layer_times(model, content, kernels, timing.ms)
        for content, kernels, timing in zip(files, found["kernels"], timings, strict=True)
    ]
    memory = found["memory"] or [None]
    return Latency(
        now=timings[-1],
        original=timings[0],
        faster=_ratio(blocks) if len(files) > 1 else Ratio(1.0, 1.0, 1.0),
        threads=settings.threads,
        batch=settings.batch,
        runtime=f"ONNX Runtime {found['version']}",
        layers=layers[-1][0],
        original_layers=layers[0][0],
        rest=layers[-1][1],
        original_rest=layers[0][1],
        memory=memory[-1],
        original_memory=memory[0],
    )


def layer_times(
    model: Model, content: bytes, kernels: Mapping[str, Sequence[float]], whole: float
) -> tuple[dict[str, float], float]:
    """Milliseconds by layer, and of all that belongs to none; together they are the whole.

    The runtime's profile tells how the time is shared out, but takes a microsecond or two of every node itself, so that
    its own sum is too large for small models.

    Args:
        model: whose layers are meant.
        content: the ONNX file.
        kernels: milliseconds of the runtime's nodes run by run, as the stopwatch gives them.
        whole: milliseconds of a run without a profile.
    """
    proto = onnx.load_model_from_string(content)
    counted = {key: values for key, values in kernels.items() if values and key.split(":")[0] not in _AROUND}
    runs = float(np.median([len(values) for values in counted.values()] or [1]))
    times = {key: float(stats.trim_mean(values, _TRIMMED)) * len(values) / runs for key, values in counted.items()}
    scale = whole / (sum(times.values()) or 1.0)
    names = {layer.name for layer in model.info.layers}
    nodes = (node for graph in graphs_in(proto.graph) for node in graph.node)
    attribution = Attribution(nodes, names, graph_owners(model))
    return by_layer({key: scale * taken for key, taken in times.items()}, attribution)


def median_ms(lap: Sequence[Sequence[float]]) -> float:
    """Milliseconds of a run: the median of the medians of the blocks of a lap, which is in seconds."""
    return float(np.median([np.median(block) for block in lap])) * _MILLI


def run_stopwatch(
    model: Model, files: Sequence[bytes], settings: LatencySettings, report: Report = silent
) -> dict[str, Any]:
    """What the stopwatch's process prints last about these files, on random inputs of one batch.

    Raises:
        ExportError: the process ends without an answer.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.onnx" for number in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        values = model.example(settings.batch)
        arrays = {spec.name: value.numpy() for spec, value in zip(model.info.inputs, values, strict=True)}
        with (folder / "inputs.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        job = Job([str(path) for path in paths], str(folder / "inputs.npz"), settings.threads, settings.seconds, name)
        (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
        return _answer(folder, report)


def _answer(folder: Path, report: Report) -> dict[str, Any]:
    """Follows the process to its last line."""
    answer: dict[str, Any] | None = None
    with (folder / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
        with _stopwatch(folder / "job.json", errors.fileno()) as process:
            report(Progress(0, 100, "Measuring latency"))
            for line in process.stdout or ():
                told = json.loads(line)
                if "share" in told:
                    report(Progress(int(100 * told["share"]), 100, "Measuring latency"))
                else:
                    answer = told
        errors.seek(0)
        said = errors.read().strip().splitlines()
    if answer is None:
        why = said[-1] if said else f"its process ended with status {process.returncode}"
        raise ExportError(f"The latency cannot be measured in ONNX Runtime: {why}")
    return answer


@contextmanager
def _stopwatch(job: Path, errors: int) -> Iterator["subprocess.Popen[str]"]:
    """The process, ended when the block is left, however that happens."""
    command = [sys.executable, "-m", _MODULE, str(job)]
    place = Path(studio.__file__).parents[1]  # so that nothing in the user's folder is taken for a module
    with subprocess.Popen(  # noqa: S603 (ours)
        command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=place
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _timing(medians: "np.ndarray[Any, np.dtype[np.float64]]", lap: Sequence[Sequence[float]]) -> Timing:
    low, high = median_interval(medians)
    return Timing(float(np.median(medians)), low, high, sum(map(len, lap)))


def _ratio(blocks: Sequence["np.ndarray[Any, np.dtype[np.float64]]"]) -> Ratio:
    ratios = blocks[0] / blocks[-1]
    low, high = median_interval(ratios)
    return Ratio(float(np.median(ratios)), low, high)
