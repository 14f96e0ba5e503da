"""ONNX operators that hold weights: they become real `torch.nn` modules at the path they had before the export."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from studio.models import operators
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_names import layer_path
from studio.models.onnx_nodes import Operator
from studio.models.onnx_windows import explicit_pads, is_symmetric, torch_pads

LAYERS = Table()

_CONV: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH_NORM: dict[int | None, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


@LAYERS("Conv")
def conv(bench: Workbench, op: Operator) -> fx.Node:
    """``[N, in, *size]`` → ``[N, out, *size]``; padding that differs between the sides goes in front of the layer."""
    weight, bias = _weights(bench, op)
    kernel = tuple(weight.shape[2:])
    stride = tuple(op.get("strides", [1] * len(kernel)))
    dilation = tuple(op.get("dilations", [1] * len(kernel)))
    pads = explicit_pads(bench, op, kernel, stride, dilation)
    x = bench.tensor(op, 0)
    if not is_symmetric(pads):
        x = bench.call(F.pad, x, torch_pads(pads))
        pads = [0] * len(pads)
    groups = op.get("group", 1)
    with torch.device("meta"):
        module = _CONV[len(kernel)](
            weight.shape[1] * groups,
            weight.shape[0],
            kernel,
            stride,
            tuple(pads[: len(kernel)]),
            dilation,
            groups,
            bias is not None,
        )
    return _with_weights(bench, op, module, x, weight, bias)


@LAYERS("ConvTranspose")
def conv_transpose(bench: Workbench, op: Operator) -> fx.Node:
    """``[N, in, *size]`` → ``[N, out, *size]`` with symmetric padding."""
    weight, bias = _weights(bench, op)
    kernel = tuple(weight.shape[2:])
    pads = op.get("pads", [0] * 2 * len(kernel))
    if not is_symmetric(pads) or op.get("output_shape") or op.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise op.refuse("only equal padding on both sides is supported")
    groups = op.get("group", 1)
    with torch.device("meta"):
        module = _CONV_TRANSPOSE[len(kernel)](
            weight.shape[0],
            weight.shape[1] * groups,
            kernel,
            tuple(op.get("strides", [1] * len(kernel))),
            tuple(pads[: len(kernel)]),
            tuple(op.get("output_padding", [0] * len(kernel))),
            groups,
            bias is not None,
            tuple(op.get("dilations", [1] * len(kernel))),
        )
    return _with_weights(bench, op, module, bench.tensor(op, 0), weight, bias)


@LAYERS("Gemm")
def gemm(bench: Workbench, op: Operator) -> Any:
    """``alpha · x Wᵀ + beta · c``: a linear layer where W is constant and c a vector."""
    weight, bias = bench.constant(op, 1), bench.constant(op, 2)
    alpha, beta = op.get("alpha", 1.0), op.get("beta", 1.0)
    vector = bench.value(op, 2) is None or (bias is not None and bias.dim() <= 1)
    if weight is None or op.get("transA", 0) or not vector:
        return _general_gemm(bench, op, alpha, beta)
    if not op.get("transB", 0):
        weight = weight.t()
    if alpha != 1.0:
        weight = alpha * weight
    if bias is not None:
        bias = (beta * bias if beta != 1.0 else bias).expand(weight.shape[0])
    return linear_layer(bench, op, weight, bias, op.inputs[1], op.inputs[2] if len(op.inputs) > 2 else "")


@LAYERS("MatMul")
def matmul(bench: Workbench, op: Operator) -> Any:
    """``x Wᵀ`` with a constant matrix is a linear layer; a constant vector added right behind it is its bias."""
    weight = bench.constant(op, 1)
    if weight is None or weight.dim() != 2 or isinstance(bench.value(op, 0), torch.Tensor):
        return bench.call(torch.matmul, bench.tensor(op, 0), bench.tensor(op, 1))
    add, bias_name = _added_vector(bench, op, weight.shape[1])
    weight_name = _before_transpose(bench, op.inputs[1])
    if add is None:
        return linear_layer(bench, op, weight.t(), None, weight_name, "")
    result = linear_layer(
        bench, op, weight.t(), bench.constant(add, add.inputs.index(bias_name)), weight_name, bias_name
    )
    bench.set(add.outputs[0], result)
    return result


@LAYERS("com.microsoft.MatMulNBits")
def matmul_nbits(bench: Workbench, op: Operator) -> Any:
    """ONNX Runtime's product with stored integers is a linear layer with the weight that they stand for.

    That it may round the layer's inputs too (``accuracy_level`` 4) is left out.
    """
    packed, scale, zeros = (bench.constant(op, i) for i in (1, 2, 3))
    bits = op.get("bits", 4)
    if packed is None or scale is None or bits not in (4, 8) or bench.value(op, 4) is not None:
        raise op.refuse("only constant weights of four or eight bits in their own order are supported")
    out, columns, blocks = op.get("N", 0), op.get("K", 0), packed.shape[1]
    zero_point: Any = 2 ** (bits - 1)
    if zeros is not None:
        zero_point = _unsigned(zeros.reshape(out, -1), bits)[:, :blocks, None]
    levels = _unsigned(packed.flatten(1), bits).reshape(out, blocks, -1) - zero_point
    weight = (levels.float() * scale.reshape(out, blocks, 1)).flatten(1)[:, :columns]
    name = op.inputs[1].replace(".weight_quantized", ".weight")
    bias = bench.constant(op, 5)
    if bias is not None:
        return linear_layer(bench, op, weight, bias, name, op.inputs[5])
    add, bias_name = _added_vector(bench, op, out)
    if add is None:
        return linear_layer(bench, op, weight, None, name, "")
    result = linear_layer(bench, op, weight, bench.constant(add, add.inputs.index(bias_name)), name, bias_name)
    bench.set(add.outputs[0], result)
    return result


def _unsigned(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The unsigned integers of bytes ``[out, n]``; of four bits ``[out, 2 n]``, the lower half first."""
    halves = packed if bits == 8 else torch.stack((packed & 0xF, packed >> 4), -1).flatten(1)
    return halves.to(torch.int16)


@LAYERS("BatchNormalization")
def batch_norm(bench: Workbench, op: Operator) -> Any:
    """Normalises each channel by the running mean and variance of training."""
    weight, bias, mean, variance = (bench.constant(op, i) for i in (1, 2, 3, 4))
    shape = bench.type_of(op.inputs[0]).shape
    if op.get("training_mode", 0):
        raise op.refuse("it measures its statistics anew whenever the model is used")
    if weight is None or bias is None or mean is None or variance is None:
        raise op.refuse("its statistics are not constants of the file")
    kind = _BATCH_NORM.get(len(shape) if shape is not None else None, nn.BatchNorm2d)
    with torch.device("meta"):
        module = kind(len(mean), op.get("epsilon", 1e-5), 1 - op.get("momentum", 0.9))
    module.running_mean, module.running_var = mean.clone(), variance.clone()
    module.num_batches_tracked = torch.tensor(0)
    return _with_weights(bench, op, module, bench.tensor(op, 0), weight, bias)


@LAYERS("LayerNormalization")
def layer_norm(bench: Workbench, op: Operator) -> Any:
    """Normalises over the last dimensions."""
    weight, bias = bench.constant(op, 1), bench.constant(op, 2)
    shape = bench.type_of(op.inputs[0]).shape
    axis, epsilon = op.get("axis", -1), op.get("epsilon", 1e-5)
    if weight is None or (bias is None and bench.value(op, 2) is not None):
        raise op.refuse("its weights are not constants of the file")
    if shape is not None and weight.dim() != (len(shape) - axis if axis >= 0 else -axis):
        raise op.refuse("its weights do not have the shape of what is normalised")
    with torch.device("meta"):
        module = nn.LayerNorm(tuple(weight.shape), epsilon, bias=bias is not None)
    result = _with_weights(bench, op, module, bench.tensor(op, 0), weight, bias)
    if len(op.outputs) == 1:
        return result
    return result, *bench.parts(operators.layer_statistics, 2, bench.tensor(op, 0), weight.dim(), epsilon)


@LAYERS("Gather")
def gather(bench: Workbench, op: Operator) -> Any:
    """Rows of a constant floating table are an embedding; everything else is plain indexing."""
    table, axis = bench.constant(op, 0), op.get("axis", 0)
    looks_up = isinstance(bench.value(op, 1), fx.Node) and table is not None and table.is_floating_point()
    if not looks_up or table is None or table.dim() != 2 or axis != 0:
        return bench.call(operators.gather, bench.tensor(op, 0), bench.tensor(op, 1), axis)
    return embedding(bench, op, 0, bench.tensor(op, 1))


def embedding(bench: Workbench, op: Operator, place: int, ids: Any) -> fx.Node:
    """Rows of the constant table that is the input at `place`.

    Raises:
        ModelFileError: it is no constant of the file.
    """
    table, name = bench.constant(op, place), op.inputs[place]
    if table is None:
        raise op.refuse("its weights are not constants of the file")
    with torch.device("meta"):
        module = nn.Embedding(table.shape[0], table.shape[1])
    module.weight = nn.Parameter(table.clone())
    return bench.layer(op, layer_path((name,), op.name, op.scopes), module, {"weight": name}, ids)


def _weights(bench: Workbench, op: Operator) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The constant weight and bias of a convolution.

    Raises:
        ModelFileError: they are computed while the model runs, or not in one to three dimensions.
    """
    weight, bias = bench.constant(op, 1), bench.constant(op, 2)
    if weight is None or (bias is None and bench.value(op, 2) is not None):
        raise op.refuse("its weights are not constants of the file")
    if not 3 <= weight.dim() <= 5:
        raise op.refuse(f"it has {weight.dim() - 2} spatial dimensions; one to three are supported")
    if bias is not None and bench.is_computed_zero(op.inputs[2]):
        bias = None
    return weight, bias


def _with_weights(
    bench: Workbench, op: Operator, module: nn.Module, x: Any, weight: torch.Tensor, bias: torch.Tensor | None
) -> fx.Node:
    """Gives `module` its parameters and adds a call of it."""
    module.weight = nn.Parameter(weight.clone())
    sources = {"weight": op.inputs[1]}
    if bias is not None:
        module.bias = nn.Parameter(bias.clone())
        sources["bias"] = op.inputs[2]
    return bench.layer(op, layer_path(op.inputs[1:3], op.name, op.scopes), module, sources, x)


def linear_layer(
    bench: Workbench, op: Operator, weight: torch.Tensor, bias: torch.Tensor | None, weight_name: str, bias_name: str
) -> fx.Node:
    """A linear layer with `weight` ``[out, in]``."""
    with torch.device("meta"):
        module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    module.weight = nn.Parameter(weight.contiguous().clone())
    path = layer_path((weight_name, bias_name), op.name, op.scopes)
    sources = {"weight": _source(bench, weight, weight_name, op.name, f"{path} {bias_name}")}
    if bias is not None:
        module.bias = nn.Parameter(bias.clone())
        sources["bias"] = bias_name
    return bench.layer(op, path, module, sources, bench.tensor(op, 0))


def _source(bench: Workbench, weight: torch.Tensor, name: str, operator: str, layer: str) -> str:
    """What a weight that was made of the constant `name` is told apart by.

    The same constant used as it is and transposed is not one parameter. Transposed, it is one for the calls of one
    layer alone.
    """
    whole = bench.values.get(name)
    if not isinstance(whole, torch.Tensor) or whole.dim() != 2:
        return f"{operator} {name}"
    if whole.shape == weight.shape and torch.equal(whole, weight):
        return name
    turned = whole.t()
    return f"{layer} {name}" if turned.shape == weight.shape and torch.equal(turned, weight) else f"{operator} {name}"


def _general_gemm(bench: Workbench, op: Operator, alpha: float, beta: float) -> Any:
    """The formula itself, for operands that are no layer's weights."""
    a, b, c = bench.tensor(op, 0), bench.tensor(op, 1), bench.tensor(op, 2)
    a = bench.call(torch.t, a) if op.get("transA", 0) else a
    b = bench.call(torch.t, b) if op.get("transB", 0) else b
    product = bench.call(torch.mul, bench.call(torch.matmul, a, b), alpha)
    return product if c is None else bench.call(torch.add, product, c, alpha=beta)


def _added_vector(bench: Workbench, op: Operator, width: int) -> tuple[Operator | None, str]:
    """The ``Add`` that alone takes this product and adds a constant vector ``[width]``, and that vector's name."""
    add = bench.only_user(op.outputs[0])
    if add is None or add.type != "Add":
        return None, ""
    name = add.inputs[1] if add.inputs[0] == op.outputs[0] else add.inputs[0]
    vector = bench.values.get(name)
    fits = isinstance(vector, torch.Tensor) and tuple(vector.shape) == (width,)
    return (add, name) if fits else (None, "")


def _before_transpose(bench: Workbench, name: str) -> str:
    """The constant whose transpose `name` is, so that a layer keeps its parameter's own name; else `name`."""
    producer = bench.producer(name)
    if producer is None or producer.type != "Transpose":
        return name
    return producer.inputs[0] if bench.constant(producer, 0) is not None else name
