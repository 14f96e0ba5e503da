"""Layers whose weight is a `StoredWeight`: what takes the place of ``nn.Linear`` and ``nn.Conv1d-3d`` in a graph."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.analysis.inputs import HasRows
from studio.compression.stored import StoredWeight
from studio.models.convolution import Conv, padding_amounts
from studio.recipe.factorization import PARTS, Factorization, Form, carrier
from studio.recipe.settings import Product, QuantizeSettings


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
    """``x Wᵀ + b`` with a stored weight ``[out, in]``.

    Args:
        stored: the weight.
        bias: ``[out]`` or None.
        product: how the exported file multiplies.
        input_block: inputs that are rounded with one scale, where `product` rounds them.
    """

    def __init__(
        self, stored: StoredWeight, bias: Tensor | None, product: Product = "portable", input_block: int = 0
    ) -> None:
        super().__init__()
        self.stored = stored
        self.bias = _parameter(bias)
        self.product: Product = product
        self.input_block = input_block

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``."""
        if self.product == "onnxruntime_int8":
            x = torch.ops.studio.round_blocks(x, self.input_block)
        return F.linear(x, self.stored(), self.bias)

    def effective_weight(self) -> Tensor:
        """The stored weight, ``[out, in]``."""
        return self.stored()

    def outline(self) -> HasRows:
        """A plain layer of the same form without any values."""
        out, columns = self.stored.shape
        return nn.Linear(columns, out, device="meta")

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

    def outline(self) -> HasRows:
        """A plain layer of the same form without any values."""
        out, inputs, *kernel = self.stored.shape
        kinds: tuple[Callable[..., HasRows], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        return kinds[len(kernel) - 1](
            inputs * self.groups,
            out,
            tuple(kernel),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            device="meta",
        )

    def effective_bias(self) -> Tensor | None:
        """The layer's own."""
        return self.bias


class Factored(CompressedLayer):
    """Thin layers in a row, named as in `PARTS`, in place of one."""

    def __init__(self, form: Form, parts: Sequence[CompressedLayer]) -> None:
        super().__init__()
        self.form: Form = form
        for name, part in zip(PARTS, parts, strict=False):
            self.add_module(name, part)

    @property
    def parts(self) -> list[CompressedLayer]:
        """The factors in the order they run."""
        return [part for part in self.children() if isinstance(part, CompressedLayer)]

    def forward(self, x: Tensor) -> Tensor:
        """What the original layer takes to what it gives."""
        for part in self.parts:
            x = part(x)
        return x

    @property
    def factorization(self) -> Factorization:
        """How the layer is split."""
        return Factorization(self.form, tuple(len(part.effective_weight()) for part in self.parts[:-1]))

    def effective_weight(self) -> Tensor:
        """The product of the factors, ``[out, in, *kernel]``."""
        return chained([part.effective_weight() for part in self.parts])

    def effective_bias(self) -> Tensor | None:
        """That of the last factor."""
        return self.parts[-1].effective_bias()


def chained(weights: Sequence[Tensor]) -> Tensor:
    """The weight that layers in a row amount to, where along each kernel axis only one of them is longer than 1."""
    product = weights[0]
    for weight in weights[1:]:
        axes = product.dim() - 2
        # [out, *kernel, in, *kernel so far]
        both = torch.tensordot(weight.movedim(1, -1), product, 1)
        pairs = [place for axis in range(axes) for place in (1 + axis, 2 + axes + axis)]
        sizes = [a * b for a, b in zip(weight.shape[2:], product.shape[2:], strict=True)]
        product = both.permute(0, 1 + axes, *pairs).reshape(len(weight), product.shape[1], *sizes)
    return product


def compressed_like(
    layer: HasRows, stored: StoredWeight, bias: Tensor | None, quantize: QuantizeSettings | None = None
) -> CompressedLayer:
    """A layer that does with `stored` and `bias` what `layer` does with its own, multiplying as `quantize` says."""
    if isinstance(layer, nn.Linear):
        return _linear(stored, bias, quantize)
    return CompressedConv(stored, bias, layer.stride, _padding(layer), layer.dilation, layer.groups)


def factored_like(
    layer: HasRows,
    form: Form,
    factors: Sequence[StoredWeight],
    bias: Tensor | None,
    quantize: QuantizeSettings | None = None,
) -> Factored:
    """A layer that does with the product of factors what `layer` does with its weight.

    Args:
        layer: the original; convolutions ungrouped.
        form: how the factors split the weight; it says which of them moves along which axis (`carrier`).
        factors: of the shapes of `Factorization.shapes`.
        bias: ``[out]``, which the last factor adds.
        quantize: how linear factors are multiplied by.
    """
    biases = [None] * (len(factors) - 1) + [bias]
    if isinstance(layer, nn.Linear):
        return Factored(form, [_linear(*pair, quantize) for pair in zip(factors, biases, strict=True)])
    padding = _padding(layer)
    parts = list[CompressedLayer]()
    for i, (factor, own) in enumerate(zip(factors, biases, strict=True)):
        mine = [carrier(form, axis) == i for axis in range(len(layer.kernel_size))]
        moved = tuple(s if m else 1 for s, m in zip(layer.stride, mine, strict=True))
        spread = tuple(d if m else 1 for d, m in zip(layer.dilation, mine, strict=True))
        padded = padding if isinstance(padding, str) else tuple(p * m for p, m in zip(padding, mine, strict=True))
        parts.append(CompressedConv(factor, own, moved, padded, spread, 1))
    return Factored(form, parts)


def _linear(stored: StoredWeight, bias: Tensor | None, quantize: QuantizeSettings | None) -> CompressedLinear:
    if quantize is None:
        return CompressedLinear(stored, bias)
    return CompressedLinear(stored, bias, quantize.product_of(stored.shape), quantize.group_size)


def _padding(layer: Conv) -> tuple[int, ...] | str:
    """Padding as numbers where both sides agree; 'same' of an even kernel stays a word."""
    amounts = padding_amounts(layer)
    before, after = amounts[-2::-2], amounts[-1::-2]
    return tuple(before) if before == after else "same"


def _parameter(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().to(torch.float32), requires_grad=False)
