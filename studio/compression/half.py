"""Weights held as floats of 16 bits: half the bytes of a file, and next to nothing lost."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import studio.compression.ops  # noqa: F401 (registers the op)
from studio.compression.stored import StoredWeight
from studio.recipe.settings import FloatFormat

HALF_DTYPES: Mapping[FloatFormat, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


class HalfWeight(StoredWeight):
    """Floats of 16 bits, computed with as float32 of the same values; pruned ones are zeros among them.

    Args:
        weight: the floats to round, ``[out, in, *kernel]``; what the format cannot reach becomes its largest value.
        dtype: one of `HALF_DTYPES`.
        mask: Boolean of the shape of `weight`, False where pruned; None when nothing is.
    """

    floats: Tensor

    def __init__(self, weight: Tensor, dtype: torch.dtype, mask: Tensor | None = None) -> None:
        super().__init__(weight.shape, mask)
        self.register_buffer("floats", halved(weight.detach(), dtype))

    def forward(self) -> Tensor:
        """The weight as float32, every value exactly."""
        weight: Tensor = torch.ops.studio.widen(self.floats)
        return weight

    def scaled(self, by: Tensor) -> StoredWeight | None:
        """Multiplies the floats and rounds them anew."""
        scale = by.float().reshape(-1, *[1] * (len(self.shape) - 1))
        return HalfWeight(self() * scale, self.floats.dtype, self.mask)

    def trainable(self) -> StoredWeight:
        """Floats to train, rounded on their way out."""
        return LatentHalfWeight(self)

    def frozen(self) -> StoredWeight:
        """This form itself."""
        return self


class LatentHalfWeight(StoredWeight):
    """Floats to train, seen through the rounding to 16 bits, which gradients pass straight through."""

    def __init__(self, stored: HalfWeight) -> None:
        super().__init__(stored.shape, stored.mask)
        self.dtype = stored.floats.dtype
        self.weight = nn.Parameter(stored().detach().clone())

    def forward(self) -> Tensor:
        """Exactly what the rounded floats are; no gradient reaches what is pruned."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        return halved(weight.detach(), self.dtype).float() + (weight - weight.detach())

    def trainable(self) -> StoredWeight:
        """This form itself."""
        return self

    def frozen(self) -> StoredWeight:
        """The rounded floats."""
        return HalfWeight(self(), self.dtype, self.mask)


def halved(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`weight` at the nearest values of `dtype`, the largest of them for what lies beyond."""
    largest = torch.finfo(dtype).max
    return weight.clamp(-largest, largest).to(dtype)
