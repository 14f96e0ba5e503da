"""How operators treat channels, by name: element-wise, moving, pooling, reducing or padding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

#: Every value from the values at the same place.
ELEMENTWISE = frozenset(
    """
    abs add alias cast celu clamp clamp_max clamp_min clone contiguous detach div divide dropout elu exp gelu
    hard_sigmoid hardsigmoid hardswish hardtanh leaky leaky_relu maximum minimum mish mul multiply neg relu relu6
    selu sigmoid silu softplus softsign sqrt square sub swish tanh true_divide truediv
    """.split()  # noqa: SIM905 (a list of one word a line would be longer than the code)
)

#: The same values in another order or shape.
RESHAPING = frozenset(["flatten", "permute", "reshape", "squeeze", "t", "transpose", "unsqueeze", "view"])

#: Some of the values.
SLICES = frozenset(["getitem", "narrow", "slice"])

#: Every pixel from pixels of the same channel, the channels being dimension 1.
WINDOWS = frozenset(
    """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d
    average_of_present global_average_pool global_max_pool interpolate max_pool1d max_pool2d max_pool3d
    upsample_bilinear2d upsample_nearest2d
    """.split()  # noqa: SIM905 (a list of one word a line would be longer than the code)
)

#: One value from all along some dimensions.
REDUCTIONS = frozenset(["amax", "amin", "mean", "reduce", "sum"])


@dataclass(frozen=True)
class Padding:
    """Where a padding operator's arguments say how many channels it adds.

    Attributes:
        places: given dimension and rank, the entries of the list of amounts for before and after.
    """

    places: Callable[[int, int], tuple[int, int]]

    def read(self, node: fx.Node, axis: int, rank: int) -> tuple[int, int] | None:
        """Channels added before and after; None where the arguments do not say, or the padding is not of zeros."""
        amounts = node.args[1] if len(node.args) > 1 else None
        places = self.places(axis, rank)
        plain = not any(
            argument not in ("constant", None, 0, 0.0) for argument in (*node.args[2:], *node.kwargs.values())
        )
        if not isinstance(amounts, list | tuple) or max(places) >= len(amounts) or not plain:
            return None
        before, after = (amounts[place] for place in places)
        return (before, after) if isinstance(before, int) and isinstance(after, int) else None

    def written(self, node: fx.Node, axis: int, rank: int, channels: tuple[int, int]) -> tuple[Any, ...]:
        """The node's arguments with other numbers of channels added before and after."""
        amounts = list(node.args[1]) if isinstance(node.args[1], list | tuple) else []
        for place, count in zip(self.places(axis, rank), channels, strict=True):
            amounts[place] = count
        return (node.args[0], amounts, *node.args[2:])


def _onnx_order(axis: int, rank: int) -> tuple[int, int]:
    return axis, rank + axis


def _torch_order(axis: int, rank: int) -> tuple[int, int]:
    return 2 * (rank - 1 - axis), 2 * (rank - 1 - axis) + 1


#: `studio.models.operators.pad` and torch's functions share the name; see `padding_of`.
_ONNX_PAD, _TORCH_PAD = Padding(_onnx_order), Padding(_torch_order)


def padding_of(node: fx.Node) -> Padding | None:
    """How `node` pads, None when it is no padding."""
    if name_of(node) not in ("pad", "constant_pad_nd"):
        return None
    return _ONNX_PAD if getattr(node.target, "__module__", "") == "studio.models.operators" else _TORCH_PAD


def name_of(node: fx.Node) -> str:
    """The operator's bare name, the same for a function, a method and an ATen call."""
    target: Any = node.target
    if node.op == "call_module":
        return str(target)
    name = target if isinstance(target, str) else getattr(target, "overloadpacket", target).__name__
    return str(name).strip("_")


def dims_of(node: fx.Node) -> list[int] | None:
    """The dimensions that a reduction goes over; None where its arguments do not say."""
    arguments = [*node.args[1:], *(node.kwargs.get(key) for key in ("dim", "axis", "axes"))]
    for argument in arguments:
        if isinstance(argument, int) and not isinstance(argument, bool):
            return [argument]
        if isinstance(argument, list | tuple) and argument and all(isinstance(dim, int) for dim in argument):
            return [dim for dim in argument if isinstance(dim, int)]
    return None
