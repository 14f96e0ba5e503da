"""Whether ONNX Runtime runs a network that the studio cannot build: it is tried once, on random input."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from studio.errors import ModelFileError, first_line
from studio.models.layer import TensorSpec
from studio.models.model import DEFAULT_SIZE, random_inputs
from studio.models.onnx_file import input_spec, output_spec
from studio.models.onnx_loose import OnnxGraph
from studio.models.onnx_places import check_graph
from studio.models.onnx_session import OnnxSession

#: Seconds of the processor that a trial may take: a loop may have no end.
LONGEST = 8.0

#: Seconds after which it is looked at again.
_GLANCE = 0.05

#: Values that the network may hold at one place, as far as its own shapes tell.
MOST_VALUES = 1 << 29

#: Sizes tried for free dimensions other than the batch until it runs.
SIZES = (DEFAULT_SIZE, 8, 32, 64, 128, 224)


@dataclass(frozen=True)
class Trial:
    """What a network has been seen to do.

    Attributes:
        inputs: what goes in; the first dimension is the batch, which is free whatever the file says.
        outputs: what comes out; of the first one the sizes are those that were seen where the file tells none.
        batch: samples that it takes at once, None for any number.
        size: of free dimensions other than the batch with which it ran.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: int | None
    size: int


def try_runtime(graph: OnnxGraph) -> Trial:
    """Runs a network on a batch of random input.

    Raises:
        ModelFileError: why it cannot be measured, in one line.
    """
    model = graph.proto
    try:
        _check_sizes(check_graph(model))
        content = model.SerializeToString()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, EncodeError, ValueError) as error:
        raise ModelFileError(first_line(error)) from error
    session = OnnxSession(content, [value.name for value in model.graph.input])
    specs = tuple(input_spec(value) for value in model.graph.input)
    for spec in specs:
        if not spec.shape:
            raise ModelFileError(f"its input '{spec.name}' is a single value, and samples come in batches")
    if not specs:
        raise ModelFileError("it has no inputs")
    inputs = tuple(TensorSpec(spec.name, spec.dtype, (None, *spec.shape[1:])) for spec in specs)
    fixed = next((spec.shape[0] for spec in specs if spec.shape[0] is not None), None)
    free = any(size is None for spec in inputs for size in spec.shape[1:])

    def attempt(batch: int, size: int, limits: ort.RunOptions) -> tuple[int, ...]:
        values = random_inputs(inputs, [graph.rows.get(spec.name) for spec in inputs], batch, size)
        found = session.run(values, limits)
        shape = tuple(found.shape)
        if not found.is_floating_point() or shape[:1] != (batch,):
            raise ModelFileError(f"its first output is {_said(found)} for {batch} samples, not some floats for each")
        return shape

    batch, size, seen = _first_that_runs(attempt, (fixed,) if fixed else (2, 1), SIZES if free else SIZES[:1])
    told = tuple(output_spec(value) for value in model.graph.output)
    shape = told[0].shape if len(told[0].shape) == len(seen) else (None,) * len(seen)
    sizes = tuple(found if known is None and not free else known for known, found in zip(shape, seen, strict=True))
    first = TensorSpec(told[0].name, "float32", (None, *sizes[1:]))
    return Trial(inputs, (first, *told[1:]), None if batch == 2 and not fixed else batch, size)


def _first_that_runs(
    attempt: Callable[[int, int, ort.RunOptions], tuple[int, ...]], batches: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[int, int, tuple[int, ...]]:
    """The first batch and size that run, and what shape comes out.

    Raises:
        ModelFileError: none do; the reason of the first.
    """
    failures = []
    with _limits() as limits:
        for batch, size in itertools.product(batches, sizes):
            try:
                return batch, size, attempt(batch, size, limits)
            except ModelFileError as error:
                failures.append(error)
    raise failures[0]


@contextmanager
def _limits() -> Iterator[ort.RunOptions]:
    """Options of runs that end them all in time: that of the processor, as the machine may have other work to do."""
    limits, over, began = ort.RunOptions(), Event(), time.process_time()

    def watch() -> None:
        while not over.wait(_GLANCE):
            if time.process_time() - began > LONGEST:
                limits.terminate = True
                return

    watcher = Thread(target=watch, name="trial", daemon=True)
    watcher.start()
    try:
        yield limits
    finally:
        over.set()
        watcher.join()


def _check_sizes(model: onnx.ModelProto) -> None:
    """Refuses a network whose shapes ask for more memory than there may be.

    Raises:
        ModelFileError: naming the value.
    """
    for value in model.graph.value_info:
        sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if math.prod(max(1, size) for size in sizes) > MOST_VALUES:
            raise ModelFileError(f"'{value.name}' would be of {'×'.join(map(str, sizes))} values")


def _said(found: torch.Tensor) -> str:
    return f"{str(found.dtype).removeprefix('torch.')} [{', '.join(map(str, found.shape))}]"
