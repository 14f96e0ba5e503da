"""Layers whose weight is a `StoredWeight`: what takes the place of ``nn.Linear`` and ``nn.Conv1d-3d`` in a graph."""

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.analysis.inputs import Conv, HasRows, padding_amounts
from studio.compression.stored import StoredWeight


class CompressedLayer(nn.Module):
    """A layer that can say which dense weight it amounts to."""

    @abstractmethod
    def effective_weight(self) -> Tensor:
        """The dense weight ``[out, in / groups, *kernel]`` with which the original layer would do the same."""

    @abstractmethod
    def effective_bias(self) -> Tensor | None:
        """The bias ``[out]`` that goes with it."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor: ...  # noqa: D102


class CompressedLinear(CompressedLayer):
    """``x Wᵀ + b`` with a stored weight ``[out, in]``."""

    def __init__(self, stored: StoredWeight, bias: Tensor | None) -> None:
        super().__init__()
        self.stored = stored
        self.bias = _parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``."""
        return F.linear(x, self.stored(), self.bias)

    def effective_weight(self) -> Tensor:
        """The stored weight, ``[out, in]``."""
        return self.stored()

    def effective_bias(self) -> Tensor | None:
        """The layer's own."""
        return self.bias


class CompressedConv(CompressedLayer):
    """A convolution in one to three dimensions with a stored weight ``[out, in / groups, *kernel]``."""

    def __init__(
        self,
        stored: StoredWeight,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...] | str,
        dilation: tuple[int, ...],
        groups: int,
    ) -> None:
        super().__init__()
        self.stored = stored
        self.bias = _parameter(bias)
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, in, *size]`` to ``[batch, out, *size]``."""
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.stride) - 1]
        return convolve(x, self.stored(), self.bias, self.stride, self.padding, self.dilation, self.groups)

    def effective_weight(self) -> Tensor:
        """The stored weight, ``[out, in / groups, *kernel]``."""
        return self.stored()

    def effective_bias(self) -> Tensor | None:
        """The layer's own."""
        return self.bias


class Factored(CompressedLayer):
    """Two layers in a row in place of one: inputs to `rank` values, those to outputs."""

    def __init__(self, first: CompressedLayer, second: CompressedLayer) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        """What the original layer takes to what it gives."""
        return self.second(self.first(x))

    @property
    def rank(self) -> int:
        """How many values pass between the factors."""
        return len(self.first.effective_weight())

    def effective_weight(self) -> Tensor:
        """The product of the factors, ``[out, in, *kernel]``."""
        first, second = self.first.effective_weight(), self.second.effective_weight()
        product = second.flatten(1) @ first.flatten(1)
        return product.reshape(-1, *first.shape[1:])

    def effective_bias(self) -> Tensor | None:
        """That of the second factor."""
        return self.second.effective_bias()


def compressed_like(layer: HasRows, stored: StoredWeight, bias: Tensor | None) -> CompressedLayer:
    """A layer that does with `stored` and `bias` what `layer` does with its own."""
    if isinstance(layer, nn.Linear):
        return CompressedLinear(stored, bias)
    return CompressedConv(stored, bias, layer.stride, _padding(layer), layer.dilation, layer.groups)


def factored_like(layer: HasRows, first: StoredWeight, second: StoredWeight, bias: Tensor | None) -> Factored:
    """A layer that does with the product of two factors what `layer` does with its weight.

    Args:
        layer: the original; convolutions ungrouped.
        first: ``[rank, in, *kernel]``, which keeps stride, padding and dilation.
        second: ``[out, rank]``, for a convolution ``[out, rank, 1, …]``.
        bias: ``[out]``.
    """
    if isinstance(layer, nn.Linear):
        return Factored(CompressedLinear(first, None), CompressedLinear(second, bias))
    ones = (1,) * len(layer.kernel_size)
    zeros = (0,) * len(layer.kernel_size)
    return Factored(
        CompressedConv(first, None, layer.stride, _padding(layer), layer.dilation, 1),
        CompressedConv(second, bias, ones, zeros, ones, 1),
    )


def _padding(layer: Conv) -> tuple[int, ...] | str:
    """Padding as numbers where both sides agree; 'same' of an even kernel stays a word."""
    amounts = padding_amounts(layer)
    before, after = amounts[-2::-2], amounts[-1::-2]
    return tuple(before) if before == after else "same"


def _parameter(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().to(torch.float32), requires_grad=False)
