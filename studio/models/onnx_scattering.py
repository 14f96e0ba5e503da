"""ONNX operators that write at places, pick along grids, and a few that are rare in real files."""

from typing import Any

import torch
import torch.nn.functional as F

from studio.models import scattering
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator
from studio.models.onnx_types import torch_dtype

SCATTERING = Table()

#: Words of newer opsets in those of torch.
_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@SCATTERING("ScatterElements", "Scatter")
def scatter_elements(bench: Workbench, op: Operator) -> Any:
    """Single values."""
    x, indices, updates = (bench.tensor(op, place) for place in range(3))
    arguments = (op.get("axis", 0), op.get("reduction", "none"))
    return bench.call(scattering.scatter_elements, x, indices, updates, *arguments)


@SCATTERING("ScatterND")
def scatter_nd(bench: Workbench, op: Operator) -> Any:
    """Slices."""
    x, indices, updates = (bench.tensor(op, place) for place in range(3))
    return bench.call(scattering.scatter_nd, x, indices, updates, op.get("reduction", "none"))


@SCATTERING("TensorScatter")
def tensor_scatter(bench: Workbench, op: Operator) -> Any:
    """A run of values of each sample."""
    tensors = [bench.tensor(op, place) for place in range(3)]
    how = (op.get("axis", -2), op.get("mode", "linear") == "circular")
    return bench.call(scattering.write_into_cache, *tensors, *how)


@SCATTERING("ReverseSequence")
def reverse_sequence(bench: Workbench, op: Operator) -> Any:
    """The beginning of each sample in reverse."""
    axes = (op.get("batch_axis", 1), op.get("time_axis", 0))
    return bench.call(scattering.reverse_sequence, bench.tensor(op, 0), bench.tensor(op, 1), *axes)


@SCATTERING("GridSample")
def grid_sample(bench: Workbench, op: Operator) -> Any:
    """Pixels at the places of a grid."""
    mode = op.get("mode", "linear")
    arguments = (_GRID_MODES.get(mode, mode), op.get("padding_mode", "zeros"), bool(op.get("align_corners", 0)))
    return bench.call(F.grid_sample, bench.tensor(op, 0), bench.tensor(op, 1), *arguments)


@SCATTERING("AffineGrid")
def affine_grid(bench: Workbench, op: Operator) -> Any:
    """The grid of an affine map."""
    size = bench.numbers(op, 1)
    return bench.call(F.affine_grid, bench.tensor(op, 0), size, bool(op.get("align_corners", 0)))


@SCATTERING("Hardmax")
def hardmax(bench: Workbench, op: Operator) -> Any:
    """1 at the largest value along one dimension; before opset 13 over all from one on, of which the last alone is."""
    axis, shape = op.get("axis", -1 if bench.opset >= 13 else 1), bench.type_of(op.inputs[0]).shape
    if bench.opset < 13 and axis not in (-1, len(shape or ()) - 1):
        raise op.refuse("it takes several dimensions together")
    return bench.call(scattering.hardmax, bench.tensor(op, 0), axis)


@SCATTERING("CumProd")
def cumulative_product(bench: Workbench, op: Operator) -> Any:
    """Running product."""
    arguments = (bool(op.get("exclusive", 0)), bool(op.get("reverse", 0)))
    return bench.call(
        scattering.cumulative_product, bench.tensor(op, 0), bench.number(bench.numbers(op, 1)), *arguments
    )


@SCATTERING("IsInf")
def is_infinite(bench: Workbench, op: Operator) -> Any:
    """Infinite to the sides that count."""
    sides = (bool(op.get("detect_negative", 1)), bool(op.get("detect_positive", 1)))
    return bench.call(scattering.is_infinite, bench.tensor(op, 0), *sides)


@SCATTERING("EyeLike")
def eye_like(bench: Workbench, op: Operator) -> Any:
    """Ones along a diagonal."""
    dtype = op.get("dtype")
    kept = bench.type_of(op.inputs[0]).dtype or torch.float32
    wanted = kept if dtype is None else torch_dtype(op, dtype)
    return bench.call(scattering.eye_like, bench.tensor(op, 0), op.get("k", 0), wanted)
