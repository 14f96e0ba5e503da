"""How a weight is held: as floats, or as integers with scales; and the same while it is being trained.

A frozen form (`DenseWeight`, `IntegerWeight`) is what an exported file contains and what the preview computes with.
Its `trainable` counterpart (`MaskedWeight`, `LatentWeight`) yields values that the frozen form could hold, at every
step: zeros stay zero and integers stay integers, while gradients pass straight through the rounding
(Bengio et al. 2013, arXiv 1308.3432).
"""

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from studio.compression.ops import spread_scale
from studio.recipe.settings import CONTAINER_BITS

#: Smallest and largest stored integer by bits. Eight bits leave out -128, so that every value has its negative;
#: with few bits one value more is worth more than that: at any scale the nearest of -2..1 is never farther than
#: the nearest of -1..1.
INTEGER_RANGE = {8: (-127, 127), 4: (-8, 7), 3: (-4, 3), 2: (-2, 1)}


def integer_range(bits: int, *, symmetric: bool = True) -> tuple[int, int]:
    """Smallest and largest stored integer; with zero points none is left out."""
    return INTEGER_RANGE[bits] if symmetric or bits < 8 else (-128, 127)


#: Smallest share of a scale at the start that training may bring it to.
LEAST_STEP = 0.05


class StoredWeight(nn.Module):
    """A weight of `shape`; `mask`, Boolean of that shape, marks the kept weights of a pruned one."""

    mask: Tensor | None

    def __init__(self, shape: torch.Size | tuple[int, ...], mask: Tensor | None) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("mask", mask)

    @abstractmethod
    def forward(self) -> Tensor:
        """The weight, float32 of `shape`."""

    def scaled(self, by: Tensor) -> "StoredWeight | None":  # noqa: ARG002 (most forms cannot)
        """This weight with every output channel multiplied by one of `by` ``[out]``; None where it cannot be."""
        return None

    @abstractmethod
    def trainable(self) -> "StoredWeight":
        """A form with parameters to train."""

    @abstractmethod
    def frozen(self) -> "StoredWeight":
        """The form to store, with the values that this one yields now."""

    if TYPE_CHECKING:

        def __call__(self) -> Tensor: ...  # noqa: D102


class DenseWeight(StoredWeight):
    """Floats; pruned ones are zeros among them."""

    def __init__(self, weight: Tensor, mask: Tensor | None = None) -> None:
        super().__init__(weight.shape, mask)
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)

    def forward(self) -> Tensor:
        """The weight as it is stored."""
        return self.weight

    def scaled(self, by: Tensor) -> StoredWeight | None:
        """Multiplies the floats."""
        return DenseWeight(self.weight * by.float().reshape(-1, *[1] * (len(self.shape) - 1)), self.mask)

    def trainable(self) -> StoredWeight:
        """The same floats, held at zero where pruned."""
        return MaskedWeight(self.weight.detach().clone(memory_format=torch.contiguous_format), self.mask)

    def frozen(self) -> StoredWeight:
        """This form itself."""
        return self


class IntegerWeight(StoredWeight):
    """Integers ``q`` of ``[out, n]`` with their scales; the weight is ``(q − zero_point) · scale``.

    Args:
        q: int8 ``[out, n]`` within `integer_range`.
        scale: float32: 0-d for the tensor, ``[out]`` for channels, ``[out, blocks]`` for blocks along the inputs.
        bits: 8, 4, 3 or 2; what they take in a file is another matter (`studio.recipe.settings.CONTAINER_BITS`).
        block_size: inputs that share a scale, the last block may be shorter; 0 without blocks.
        shape: of the weight, ``[out, in, *kernel]``.
        mask: Boolean of `shape`, False where pruned; None when nothing is.
        zero_point: int8 of the shape of `scale`, within the range of `q`; None for integers around zero.
    """

    q: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(
        self,
        q: Tensor,
        scale: Tensor,
        bits: int,
        block_size: int,
        shape: torch.Size | tuple[int, ...],
        mask: Tensor | None = None,
        zero_point: Tensor | None = None,
    ) -> None:
        super().__init__(shape, mask)
        self.bits = bits
        self.block_size = block_size
        self.axis = 1 if block_size else 0
        self.symmetric = zero_point is None
        self.register_buffer("q", q)
        self.register_buffer("scale", scale)
        self.register_buffer(
            "zero_point", torch.zeros_like(scale, dtype=torch.int8) if zero_point is None else zero_point
        )

    def forward(self) -> Tensor:
        """The weight that the integers stand for."""
        zero_point = None if self.symmetric else self.zero_point
        weight: Tensor = torch.ops.studio.dequantize(
            self.q, self.scale, zero_point, self.axis, self.block_size, CONTAINER_BITS[self.bits]
        )
        return weight.reshape(self.shape)

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        return integer_range(self.bits, symmetric=self.symmetric)

    def spread(self, values: Tensor) -> Tensor:
        """A scale or zero point in a shape that broadcasts against `q`."""
        return spread_scale(values, self.q, self.axis, self.block_size)

    def holding(self, q: Tensor, scale: Tensor, mask: Tensor | None) -> "IntegerWeight":
        """The same quantizer with other integers, scales and mask."""
        zero_point = None if self.symmetric else self.zero_point
        return IntegerWeight(q, scale, self.bits, self.block_size, self.shape, mask, zero_point)

    def scaled(self, by: Tensor) -> StoredWeight | None:
        """Multiplies the scales, the integers stay; one scale for the tensor cannot follow its channels."""
        if self.scale.dim() == 0:
            return None
        scale = self.scale * by.float().reshape(-1, *[1] * (self.scale.dim() - 1))
        return self.holding(self.q, scale, self.mask)

    def trainable(self) -> StoredWeight:
        """Floats to train, rounded on their way out."""
        return LatentWeight(self)

    def frozen(self) -> StoredWeight:
        """This form itself."""
        return self


class MaskedWeight(StoredWeight):
    """Floats to train under a mask."""

    def __init__(self, weight: Tensor, mask: Tensor | None) -> None:
        super().__init__(weight.shape, mask)
        self.weight = nn.Parameter(weight)

    def forward(self) -> Tensor:
        """The weight, zero where pruned; no gradient reaches what is pruned."""
        return self.weight if self.mask is None else self.weight * self.mask

    def trainable(self) -> StoredWeight:
        """This form itself."""
        return self

    def frozen(self) -> StoredWeight:
        """The floats with zeros in place."""
        return DenseWeight(self().detach().clone(), self.mask)


class LatentWeight(StoredWeight):
    """Floats to train, seen through the rounding of an `IntegerWeight` whose scales stay as they are."""

    def __init__(self, stored: IntegerWeight) -> None:
        super().__init__(stored.shape, stored.mask)
        self.stored = stored
        self.latent = nn.Parameter(stored().detach().clone())

    def forward(self) -> Tensor:
        """Exactly what the rounded integers stand for; gradients pass where the latent is within range."""
        low, high = self._levels()
        step = self.stored.spread(self.stored.scale)
        passing = self._latent().clamp(low * step, high * step).reshape(self.shape)
        return self._rounded()() + (passing - passing.detach())

    def trainable(self) -> StoredWeight:
        """This form itself."""
        return self

    def frozen(self) -> StoredWeight:
        """The rounded integers."""
        return self._rounded()

    @torch.no_grad()
    def _rounded(self) -> IntegerWeight:
        return self._stored_at(self.stored.scale)

    def _stored_at(self, scale: Tensor) -> IntegerWeight:
        """The nearest integers at `scale`, under the present mask."""
        levels = (self._latent() / self.stored.spread(scale)).round().clamp(*self._levels())
        integers = levels + self._zeros()
        return self.stored.holding(integers.to(torch.int8), scale, self.mask)

    def _latent(self) -> Tensor:
        """The floats ``[out, n]``, zero where pruned."""
        latent = self.latent if self.mask is None else self.latent * self.mask
        return latent.reshape(self.stored.q.shape)

    def _zeros(self) -> Tensor:
        """The zero points as floats, to broadcast against the integers."""
        return self.stored.spread(self.stored.zero_point).float()

    def _levels(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest integer less its zero point."""
        low, high = self.stored.range
        return low - self._zeros(), high - self._zeros()


class LearnedStepWeight(LatentWeight):
    """Floats to train, seen through a rounding whose scales train as well.

    Learned step size quantization (S. Esser et al., arXiv 1902.08153): ``ŵ = s · round(clip(w / s, low, high))``, the
    rounding passed straight through, which gives ``∂ŵ/∂s = round(w / s) − w / s`` inside the range and its end outside,
    damped by ``1 / √(N · high)`` for N weights a step. What trains is the share of the scale at the start, so that one
    learning rate fits all layers.
    """

    def __init__(self, stored: IntegerWeight) -> None:
        super().__init__(stored)
        self.ratio = nn.Parameter(torch.ones_like(stored.scale))

    def forward(self) -> Tensor:
        """Exactly what the rounded integers stand for, with gradients for weights and scales."""
        scale = self.stored.spread(self._scale(damped=True))
        level = (self._latent() / scale).clamp(*self._levels())
        return ((level + (level.round() - level).detach()) * scale).reshape(self.shape)

    @torch.no_grad()
    def frozen(self) -> StoredWeight:
        """The rounded integers with the scales of now."""
        return self._stored_at(self._scale(damped=False))

    def _scale(self, *, damped: bool) -> Tensor:
        """The scales of now, never below a small share of those at the start."""
        stored = self.stored
        ratio = self.ratio
        if damped:
            damping = (stored.q.numel() / stored.scale.numel() * INTEGER_RANGE[stored.bits][1]) ** -0.5
            ratio = ratio * damping + (ratio * (1 - damping)).detach()
        return stored.scale * ratio.clamp_min(LEAST_STEP)
