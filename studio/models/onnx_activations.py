"""ONNX activations, poolings and norms that have parameters but no weights worth compressing."""

from typing import Any

import torch
import torch.nn.functional as F

from studio.models import operators
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator
from studio.models.onnx_windows import explicit_pads, is_symmetric, torch_pads

ACTIVATIONS = Table()

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@ACTIVATIONS("Softmax", "LogSoftmax")
def softmax(bench: Workbench, op: Operator) -> Any:
    """Along one dimension; before opset 13 over all dimensions from one on."""
    x = bench.tensor(op, 0)
    if bench.opset >= 13:
        function = torch.softmax if op.type == "Softmax" else torch.log_softmax
        return bench.call(function, x, op.get("axis", -1))
    result = bench.call(operators.softmax_from, x, op.get("axis", 1))
    return result if op.type == "Softmax" else bench.call(torch.log, result)


@ACTIVATIONS("Gelu")
def gelu(bench: Workbench, op: Operator) -> Any:
    """``x · Φ(x)``, exact or by tanh."""
    return bench.call(F.gelu, bench.tensor(op, 0), approximate=op.get("approximate", "none"))


@ACTIVATIONS("LeakyRelu")
def leaky_relu(bench: Workbench, op: Operator) -> Any:
    """A small slope below zero."""
    return bench.call(F.leaky_relu, bench.tensor(op, 0), op.get("alpha", 0.01))


@ACTIVATIONS("Elu", "Celu")
def elu(bench: Workbench, op: Operator) -> Any:
    """Exponential below zero."""
    return bench.call(F.elu if op.type == "Elu" else F.celu, bench.tensor(op, 0), op.get("alpha", 1.0))


@ACTIVATIONS("HardSigmoid")
def hard_sigmoid(bench: Workbench, op: Operator) -> Any:
    """A clipped line; torch's own where the line is torch's."""
    alpha, beta = op.get("alpha", 0.2), op.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return bench.call(F.hardsigmoid, bench.tensor(op, 0))
    return bench.call(operators.hard_sigmoid, bench.tensor(op, 0), alpha, beta)


@ACTIVATIONS("Swish")
def swish(bench: Workbench, op: Operator) -> Any:
    """``x · sigmoid(alpha·x)``."""
    return bench.call(operators.swish, bench.tensor(op, 0), op.get("alpha", 1.0))


@ACTIVATIONS("GlobalAveragePool")
def global_average_pool(bench: Workbench, op: Operator) -> Any:
    """Mean of every channel."""
    return bench.call(operators.global_average_pool, bench.tensor(op, 0))


@ACTIVATIONS("GlobalMaxPool")
def global_max_pool(bench: Workbench, op: Operator) -> Any:
    """Maximum of every channel."""
    return bench.call(operators.global_max_pool, bench.tensor(op, 0))


@ACTIVATIONS("MaxPool")
def max_pool(bench: Workbench, op: Operator) -> Any:
    """Maximum of every window."""
    if len(op.outputs) > 1:
        raise op.refuse("its second output, the places of the maxima, is not supported")
    kernel, stride, dilation = _window(op)
    x, pads = bench.tensor(op, 0), explicit_pads(bench, op, kernel, stride, dilation)
    if not is_symmetric(pads) or any(2 * p > k for p, k in zip(pads, kernel, strict=False)):
        x, pads = bench.call(F.pad, x, torch_pads(pads), value=float("-inf")), [0] * len(pads)
    ceil = bool(op.get("ceil_mode", 0))
    return bench.call(_MAX_POOL[len(kernel)], x, kernel, stride, pads[: len(kernel)], dilation, ceil)


@ACTIVATIONS("AveragePool")
def average_pool(bench: Workbench, op: Operator) -> Any:
    """Mean of every window, borders counted or not."""
    kernel, stride, dilation = _window(op)
    if any(d != 1 for d in dilation):
        raise op.refuse("dilation is not supported")
    x, pads = bench.tensor(op, 0), explicit_pads(bench, op, kernel, stride, dilation)
    ceil, counted = bool(op.get("ceil_mode", 0)), bool(op.get("count_include_pad", 0))
    if is_symmetric(pads):
        return bench.call(_AVERAGE_POOL[len(kernel)], x, kernel, stride, pads[: len(kernel)], ceil, counted)
    if not counted:
        return bench.call(operators.average_of_present, x, torch_pads(pads), kernel, stride, ceil)
    return bench.call(_AVERAGE_POOL[len(kernel)], bench.call(F.pad, x, torch_pads(pads)), kernel, stride, 0, ceil)


@ACTIVATIONS("InstanceNormalization")
def instance_norm(bench: Workbench, op: Operator) -> Any:
    """Normalises every channel of every sample."""
    x, weight, bias = (bench.tensor(op, i) for i in range(3))
    return bench.call(F.instance_norm, x, None, None, weight, bias, True, 0.1, op.get("epsilon", 1e-5))


@ACTIVATIONS("GroupNormalization")
def group_norm(bench: Workbench, op: Operator) -> Any:
    """Normalises groups of channels, with a scale for every channel (opset 21)."""
    if bench.opset < 21:
        raise op.refuse("scales for whole groups (before opset 21) are not supported")
    x, weight, bias = (bench.tensor(op, i) for i in range(3))
    return bench.call(F.group_norm, x, op.get("num_groups"), weight, bias, op.get("epsilon", 1e-5))


@ACTIVATIONS("LpNormalization")
def lp_normalization(bench: Workbench, op: Operator) -> Any:
    """Divides by the norm along one dimension."""
    return bench.call(F.normalize, bench.tensor(op, 0), float(op.get("p", 2)), op.get("axis", -1))


@ACTIVATIONS("LRN")
def local_response_norm(bench: Workbench, op: Operator) -> Any:
    """Normalises over neighbouring channels."""
    arguments = (op.get("size"), op.get("alpha", 1e-4), op.get("beta", 0.75), op.get("bias", 1.0))
    return bench.call(F.local_response_norm, bench.tensor(op, 0), *arguments)


@ACTIVATIONS("Resize", "Upsample")
def resize(bench: Workbench, op: Operator) -> Any:
    """Larger or smaller images by whole-number nearest neighbours or by linear interpolation."""
    mode, where = op.get("mode", "nearest"), op.get("coordinate_transformation_mode", "half_pixel")
    shape = bench.type_of(op.outputs[0]).shape
    if shape is None or None in shape[2:]:
        raise op.refuse("the file does not tell the size of the result")
    if mode == "nearest" and (where == "asymmetric" or _grows_evenly(bench, op)):
        return bench.call(F.interpolate, bench.tensor(op, 0), list(shape[2:]), mode="nearest")
    if mode == "linear" and len(shape) == 4 and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        corners = where == "align_corners"
        return bench.call(F.interpolate, bench.tensor(op, 0), list(shape[2:]), mode="bilinear", align_corners=corners)
    raise op.refuse(f"mode {mode} with {where} is not supported")


def _grows_evenly(bench: Workbench, op: Operator) -> bool:
    """Whether every size becomes a whole multiple, for which all ways to find the nearest pixel agree."""
    before, after = bench.type_of(op.inputs[0]).shape, bench.type_of(op.outputs[0]).shape
    if before is None or after is None:
        return False
    return all(a is not None and b is not None and a % b == 0 for b, a in zip(before[2:], after[2:], strict=True))


def _window(op: Operator) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and dilation of a pooling."""
    kernel = list(op.get("kernel_shape"))
    ones = [1] * len(kernel)
    return kernel, list(op.get("strides", ones)), list(op.get("dilations", ones))
