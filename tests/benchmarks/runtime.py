"""Speed and size of an int8 export in ONNX Runtime, beside the original and ONNX Runtime's own int8 file.

    python tests/benchmarks/runtime.py ../shared/data
    python tests/benchmarks/runtime.py ../shared/data --rounds 40

All three files run on one thread with the runtime's default optimizations, in turns within every round, so that what
else the machine does disturbs them alike: the ratios of a round's times are what counts, and their median is told
with the quarter to either side. ONNX Runtime's own file is the fastest kind it makes of this model: uint8
activations, int8 weights by channel.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod
from other_tools import onnx_runtime_static
from rich.console import Console
from rich.table import Table

from studio.analysis.calibration_cache import remembered_calibration
from studio.compression.compress import compress
from studio.evaluation.batches import Batches
from studio.evaluation.data import open_data
from studio.export.onnx_file import write_onnx
from studio.models.open import open_model
from studio.recipe.recipe import Recipe
from studio.recipe.rounding import integer_layers
from studio.recipe.settings import LayerSettings, Options, QuantizeSettings

MODEL, CALIBRATION = "resnet20_cifar10.onnx", "cifar10_train20k.data.yaml"
SAMPLES, BATCH = 512, 64
#: Runs of one file in a row within a round, by batch size.
REPEATS: Mapping[int, int] = {1: 40, 64: 2}
ORIGINAL, OURS, THEIRS = "fp32", "int8, ours", "int8, ONNX Runtime's own"


def write_files(source: Path, folder: Path) -> dict[str, Path]:
    """The original as the studio writes it, our int8 file and ONNX Runtime's."""
    model = open_model(source / MODEL)
    batches = Batches(open_data(source / CALIBRATION, model.info), SAMPLES, BATCH)
    settings = LayerSettings(quantize=QuantizeSettings(activation_bits=8))
    # the fit changes the values of the weights alone, which speed does not depend on
    recipe = Recipe(default=settings, options=Options(fit="layer"))
    compressed = compress(model, recipe, calibration=remembered_calibration(model, batches))
    files = {name: folder / f"{number}.onnx" for number, name in enumerate((ORIGINAL, OURS, THEIRS))}
    write_onnx(model.graph, model.info, files[ORIGINAL])
    integer = integer_layers(compressed.settings)
    write_onnx(compressed.graph, model.info, files[OURS], model.free_size, integer)
    name = model.info.inputs[0].name
    onnx_runtime_static(source / MODEL, name, batches, CalibrationMethod.Percentile, files[THEIRS])
    return files


def runner(path: Path, batch: int) -> Callable[[], object]:
    """Runs a file once on random images."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    sizes = (batch, *given.shape[1:])
    feed = {given.name: np.random.default_rng(0).standard_normal(sizes).astype(np.float32)}
    return lambda: session.run(None, feed)


def times(runners: Mapping[str, Callable[[], object]], rounds: int, repeats: int) -> dict[str, np.ndarray]:
    """Seconds of one run in each round, ``[rounds]`` by file; who begins changes from round to round."""
    found: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in range(-1, rounds):  # the first round warms up
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            for _ in range(repeats):
                runners[name]()
            if number >= 0:
                found[name].append((time.perf_counter() - began) / repeats)
    return {name: np.array(values) for name, values in found.items()}


def ratio(values: np.ndarray) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # ONNX Runtime's quantizer recommends preprocessing
    if not arguments.folder.is_dir():
        sys.exit(f"skipped: there is no benchmark data in {arguments.folder}")
    table = Table("file", "bytes", title=f"ResNet-20 in ONNX Runtime, 1 thread, {arguments.rounds} rounds")
    for batch in REPEATS:
        table.add_column(f"batch {batch}, ms", justify="right")
        table.add_column("times as fast as fp32", justify="right")
    with TemporaryDirectory() as folder:
        files = write_files(arguments.folder, Path(folder))
        found = {}
        for batch, repeats in REPEATS.items():
            runners = {name: runner(path, batch) for name, path in files.items()}
            found[batch] = times(runners, arguments.rounds, repeats)
        for name, path in files.items():
            cells = []
            for of in found.values():
                cells += [f"{1000 * np.median(of[name]):.2f}", ratio(of[ORIGINAL] / of[name])]
            table.add_row(name, f"{path.stat().st_size:,}", *cells)
    out = Console(width=120)
    out.print(table)
    for batch, of in found.items():
        out.print(f"batch {batch}: ours is {ratio(of[THEIRS] / of[OURS])} times as fast as ONNX Runtime's own")


if __name__ == "__main__":
    main()
