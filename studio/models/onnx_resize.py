"""ONNX ``Resize`` and ``Upsample``: torch's interpolation where it means the same, otherwise a matrix for each axis."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F

from studio.models import operators, shape_math
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator
from studio.models.resizing import Resizing, resizing_matrix

RESIZING = Table()

#: torch's name of each mode by the number of spatial dimensions.
_MODES: dict[str, dict[int, str]] = {
    "nearest": {1: "nearest", 2: "nearest", 3: "nearest"},
    "linear": {1: "linear", 2: "bilinear", 3: "trilinear"},
    "cubic": {2: "bicubic"},
}
#: The coefficient that torch has in its cubic kernel.
_CUBIC = -0.75

#: Roundings that agree where a size grows by a whole factor around the centres of pixels.
_ROUNDS = ("round_prefer_floor", "round_prefer_ceil")


@RESIZING("Resize", "Upsample")
def resize(bench: Workbench, op: Operator) -> Any:
    """Larger or smaller by given factors or to given sizes."""
    how, before = _resizing(bench, op), bench.type_of(op.inputs[0]).shape
    scales, sizes = _scales(bench, op), bench.numbers(op, 3) if op.type == "Resize" else None
    if how.where == "tf_crop_and_resize" or before is None or len(before) < 3:
        raise op.refuse("it crops, or the file does not tell the number of dimensions")
    if bench.is_size(sizes):
        return _to_computed_size(bench, op, how, sizes, len(before))
    if not isinstance(sizes, list) and not isinstance(scales, list):
        raise op.refuse("by how much depends on the data")
    axes = [axis % len(before) for axis in op.get("axes", range(len(before)))]
    after = bench.type_of(op.outputs[0]).shape or (None,) * len(before)
    factors = _factors(op, before, after, axes, scales)
    mode = _MODES[how.mode].get(len(before) - 2)
    if mode is not None and factors[:2] == [1.0, 1.0] and _torch_does(how, before, after, factors):
        size = {"scale_factor": factors[2:]} if None in after[2:] else {"size": list(after[2:])}
        return bench.call(F.interpolate, bench.tensor(op, 0), **size, mode=mode, **_corners(how))
    return _by_matrices(bench, op, how, before, after, factors)


def _resizing(bench: Workbench, op: Operator) -> Resizing:
    """What the node asks for; before opset 11 places were counted from the corner and rounded down."""
    old = op.type == "Upsample" or bench.opset < 11
    how = Resizing(
        mode=op.get("mode", "nearest").replace("bilinear", "linear"),
        where="asymmetric" if old else op.get("coordinate_transformation_mode", "half_pixel"),
        nearest="floor" if old else op.get("nearest_mode", "round_prefer_floor"),
        antialias=bool(op.get("antialias", 0)),
        cubic=op.get("cubic_coeff_a", _CUBIC),
        exclude=bool(op.get("exclude_outside", 0)),
    )
    if how.mode not in _MODES:
        raise op.refuse(f"the mode {how.mode} is not supported")
    if op.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise op.refuse("keeping the proportions is not supported")
    return how


def _scales(bench: Workbench, op: Operator) -> Any:
    """The factors of all resized dimensions where the file tells them."""
    place = 2 if op.type == "Resize" and bench.opset >= 11 else 1
    return bench.numbers(op, place, "scales") or None


def _factors(
    op: Operator, before: Sequence[int | None], after: Sequence[int | None], axes: Sequence[int], scales: Any
) -> list[float]:
    """By how much each dimension grows.

    Raises:
        ModelFileError: sizes are given, and those of the input are free.
    """
    factors = [1.0] * len(before)
    for i, axis in enumerate(axes):
        have, want = before[axis], after[axis]
        if scales is not None:
            factors[axis] = float(scales[i])
        elif have is not None and want is not None:
            factors[axis] = want / have
        elif axis > 1:
            raise op.refuse("the file does not tell by how much")
    return factors


def _torch_does(
    how: Resizing, before: Sequence[int | None], after: Sequence[int | None], factors: Sequence[float]
) -> bool:
    """Whether torch's interpolation finds the same places and weights."""
    if _beyond_torch(how):
        return False
    sizes = list(zip(before[2:], after[2:], factors[2:], strict=True))
    known = all(have is not None and want is not None for have, want, _ in sizes)
    exact = known and all(want == (have or 0) * factor for have, want, factor in sizes)
    whole = all(factor.is_integer() for factor in factors)
    if how.mode == "nearest":
        corner = how.where == "asymmetric" and how.nearest == "floor"
        centre = how.where in ("half_pixel", "pytorch_half_pixel") and how.nearest in _ROUNDS and whole
        return (corner or centre) and (exact or whole or not known)
    if how.where == "align_corners":
        return exact
    halves = how.where == "half_pixel" or (how.where == "pytorch_half_pixel" and 1 not in after)
    return halves and (exact or not known)


def _beyond_torch(how: Resizing) -> bool:
    return how.antialias or how.exclude or how.cubic != _CUBIC


def _same_for_any_size(how: Resizing) -> bool:
    """Whether torch does the same to any size when that of the result is told."""
    if how.mode == "nearest":
        return how.where == "asymmetric" and how.nearest == "floor"
    return how.where in ("half_pixel", "align_corners") and not _beyond_torch(how)


def _corners(how: Resizing) -> dict[str, bool]:
    return {} if how.mode == "nearest" else {"align_corners": how.where == "align_corners"}


def _to_computed_size(bench: Workbench, op: Operator, how: Resizing, sizes: Any, rank: int) -> Any:
    """To sizes that follow from those of the input."""
    mode = _MODES[how.mode].get(rank - 2)
    if mode is None or not _same_for_any_size(how) or "axes" in op.attributes:
        raise op.refuse(f"mode {how.mode} with {how.where} needs fixed sizes")
    size = bench.size(shape_math.slice_, sizes, 2, None, 1)
    return bench.call(F.interpolate, bench.tensor(op, 0), size, mode=mode, **_corners(how))


def _by_matrices(
    bench: Workbench,
    op: Operator,
    how: Resizing,
    before: Sequence[int | None],
    after: Sequence[int | None],
    factors: Sequence[float],
) -> Any:
    """Axis by axis."""
    x = bench.tensor(op, 0)
    for axis, factor in enumerate(factors):
        have, want = before[axis], after[axis]
        if factor == 1.0 and have == want:
            continue
        if have is None or want is None:
            raise op.refuse(f"mode {how.mode} with {how.where} needs fixed sizes")
        if how.where == "align_corners" and want != have * factor:
            raise op.refuse("align_corners has no agreed meaning for a factor that does not come out even")
        x = bench.call(operators.multiply_along, x, resizing_matrix(have, want, factor, how), axis)
    return x
