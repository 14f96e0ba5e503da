"""ONNX activations, poolings and norms that have parameters but no weights worth compressing."""

from typing import Any

import torch
import torch.nn.functional as F

from studio.models import operators
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator
from studio.models.onnx_windows import explicit_pads, fits_torch, torch_pads

ACTIVATIONS = Table()

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
#: ``alpha`` and ``gamma`` of a self-normalising network, in float32.
_SELU = (1.67326319217681884765625, 1.05070102214813232421875)
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


@ACTIVATIONS("Selu")
def selu(bench: Workbench, op: Operator) -> Any:
    """A scaled `elu`; torch's own where the constants are torch's."""
    alpha, gamma = op.get("alpha", _SELU[0]), op.get("gamma", _SELU[1])
    if (alpha, gamma) == _SELU:
        return bench.call(F.selu, bench.tensor(op, 0))
    return bench.call(operators.selu, bench.tensor(op, 0), alpha, gamma)


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
    kernel, stride, dilation = _window(op)
    x, pads = bench.tensor(op, 0), explicit_pads(bench, op, kernel, stride, dilation)
    if not fits_torch(pads, kernel):
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
    if fits_torch(pads, kernel):
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
    """Normalises groups of channels, with a scale for every channel, before opset 21 for every group."""
    x, weight, bias = (bench.tensor(op, i) for i in range(3))
    if bench.opset < 21:
        return bench.call(operators.group_norm, x, op.get("num_groups"), weight, bias, op.get("epsilon", 1e-5))
    return bench.call(F.group_norm, x, op.get("num_groups"), weight, bias, op.get("epsilon", 1e-5))


@ACTIVATIONS("RMSNormalization")
def rms_norm(bench: Workbench, op: Operator) -> Any:
    """Divides by the root of the mean square over the last dimensions."""
    axis, epsilon = op.get("axis", -1), op.get("epsilon", 1e-5)
    return bench.call(operators.rms_norm, bench.tensor(op, 0), bench.tensor(op, 1), axis, epsilon)


@ACTIVATIONS("ThresholdedRelu")
def thresholded_relu(bench: Workbench, op: Operator) -> Any:
    """Zero up to a threshold."""
    return bench.call(F.threshold, bench.tensor(op, 0), op.get("alpha", 1.0), 0.0)


@ACTIVATIONS("Shrink")
def shrink(bench: Workbench, op: Operator) -> Any:
    """Zero around zero, everything else moved towards it."""
    return bench.call(operators.shrink, bench.tensor(op, 0), op.get("lambd", 0.5), op.get("bias", 0.0))


@ACTIVATIONS("LpNormalization")
def lp_normalization(bench: Workbench, op: Operator) -> Any:
    """Divides by the norm along one dimension."""
    return bench.call(F.normalize, bench.tensor(op, 0), float(op.get("p", 2)), op.get("axis", -1))


@ACTIVATIONS("LRN")
def local_response_norm(bench: Workbench, op: Operator) -> Any:
    """Normalises over neighbouring channels."""
    arguments = (op.get("size"), op.get("alpha", 1e-4), op.get("beta", 0.75), op.get("bias", 1.0))
    return bench.call(F.local_response_norm, bench.tensor(op, 0), *arguments)


def _window(op: Operator) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and dilation of a pooling."""
    kernel = list(op.get("kernel_shape"))
    ones = [1] * len(kernel)
    return kernel, list(op.get("strides", ones)), list(op.get("dilations", ones))
