"""BatchNorm recalibration for models whose norms are folded: output statistics brought back to the original's.

A BatchNorm whose mean and variance are estimated anew on the compressed model gives every channel the mean and spread
that it had in the original (Nagel et al. 2021, arXiv 2106.08295, §4.2; REPAIR, arXiv 2211.08403). Folded into the
layer before it, that is a factor and a shift per output channel:

    Ŵ ← s Ŵ,   b ← E[y] − s (E[ŷ] − b)   with s = σ(y) / σ(ŷ)

for outputs y of the original layer and ŷ of the compressed one, which sees what the compressed layers before it give.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studio.compression.modules import CompressedConv, CompressedLinear, Factored

#: Channels that spread less than this share of the layer's largest are left at their scale: all but constant.
_TINY = 1e-4


@torch.no_grad()
def recalibrated(layer: nn.Module, wanted: Sequence[Tensor], given: Sequence[Tensor]) -> nn.Module:
    """A copy of a layer whose outputs have the wanted mean and, where it can be folded exactly, spread per channel.

    Args:
        layer: a linear layer or convolution, compressed or not; one without a bias is returned as it is.
        wanted: outputs of the original layer, by batch, ``[batch, out, *size]`` (linear: ``[..., out]``).
        given: outputs of `layer` for the same samples.
    """
    copied = copy.deepcopy(layer)
    last = copied.parts[-1] if isinstance(copied, Factored) else copied
    bias = getattr(last, "bias", None)
    if not isinstance(bias, Tensor):
        return layer
    by_last = isinstance(last, nn.Linear | CompressedLinear)
    mean, deviation = _statistics(wanted, by_last)
    given_mean, given_deviation = _statistics(given, by_last)
    smallest = _TINY * given_deviation.max()
    scale = torch.where(given_deviation > smallest, deviation / given_deviation.clamp_min(1e-300), 1.0)
    applied = _scale_outputs(last, scale)
    bias.copy_(mean - applied * (given_mean - bias.double()))
    return copied


def _statistics(outputs: Sequence[Tensor], by_last: bool) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over batches and positions, float64 ``[out]``."""
    rows = 0
    total = squares = torch.zeros((), dtype=torch.float64)
    for output in outputs:
        channels = output.flatten(0, -2) if by_last else output.transpose(0, 1).flatten(1).mT
        exact = channels.double()
        rows += len(exact)
        total = total + exact.sum(0)
        squares = squares + exact.square().sum(0)
    mean = total / rows
    return mean, (squares / rows - mean.square()).clamp_min(0).sqrt()


def _scale_outputs(layer: nn.Module, scale: Tensor) -> Tensor:
    """Multiplies the layer's weight by `scale` ``[out]`` where that is exact; returns what was multiplied by."""
    if isinstance(layer, CompressedLinear | CompressedConv):
        scaled = layer.stored.scaled(scale)
        if scaled is None:
            return torch.ones_like(scale)
        layer.stored = scaled
    elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        layer.weight.mul_(scale.float().reshape(-1, *[1] * (layer.weight.dim() - 1)))
    return scale
