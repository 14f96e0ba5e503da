"""What could be done to each layer that its outputs would hardly show, as far as the weights alone tell.

With inputs of one size in every direction the noise over signal of a layer's outputs is ``‖W − Ŵ‖² / ‖W‖²``: the
squares of what pruning takes away, of the singular values behind the rank, of the errors of rounding. Without data
this is all that is known; a scan measures what the model's own inputs make of it.
"""

from collections import defaultdict
from collections.abc import Iterator
from math import floor, prod

import torch
from torch import Tensor

from studio.analysis.spectrum_cache import remembered_spectrum
from studio.evaluation.feasibility import HARMLESS, Harmless
from studio.models.channels import Channels, find_channels
from studio.models.layer import ChannelGroup, Layer
from studio.models.model import Model, weight_matrix
from studio.progress import Progress, Report
from studio.recipe.factorization import budget
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings

#: Weights that tell of a layer's rounding and zeros: of larger ones as many, row by row from all over the matrix.
_PART = 1 << 22

#: Multiplications up to which the singular values of a layer are looked at in passing: about two seconds.
_RANK_WORK = 2e10


def find_harmless(model: Model, report: Report) -> Harmless:
    """Looks at every layer of a model.

    Args:
        model: whose network need not be known; channels are then left out.
        report: receives progress, layer by layer.
    """
    found = defaultdict[str, dict[str, LayerSettings]](dict)
    layers = model.info.layers
    for number, layer in enumerate(layers):
        report(Progress(number, len(layers), f"Looking at {layer.name}"))
        for method, settings in _of(layer, weight_matrix(model.module(layer.name)).detach()):
            found[method][layer.name] = settings
    if model.info.groups:
        channels = find_channels(model.graph, model.example())
        shares = {group.name: idle_channels(model, channels, group) for group in model.info.groups}
        found["channels"] = {name: _without_channels(share) for name, share in shares.items() if share}
    unseen = tuple(layer.name for layer in layers if layer.allows("rank") and _is_large(layer))
    return Harmless(dict(found), {"rank": unseen} if unseen else {})


def _of(layer: Layer, matrix: Tensor) -> Iterator[tuple[str, LayerSettings]]:
    """Each method with the strongest setting that is harmless, where there is one."""
    part = matrix[:: -(-matrix.numel() // _PART)].float()
    if not 0 < float(part.square().sum()) < float("inf"):
        return  # nothing, or no numbers: what would be noise to them?
    if layer.allows("quantize") and (bits := fewest_bits(part)):
        yield "quantize", LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": bits}))
    if layer.allows("prune") and (ratio := most_zeros(part)):
        yield "prune", LayerSettings(prune=PruneSettings(ratio=ratio))
    if layer.allows("rank") and not _is_large(layer) and (rank := least_rank(layer, matrix)):
        yield "rank", LayerSettings(rank=RankSettings(rank=rank))


def _is_large(layer: Layer) -> bool:
    """Whether its singular values take too long to be looked at in passing."""
    return prod(layer.matrix_shape) * layer.full_rank > _RANK_WORK


def fewest_bits(matrix: Tensor) -> int | None:
    """The fewest bits that files hold which round a matrix ``[out, n]`` harmlessly, one scale a row; None for none."""
    energy = float(matrix.square().sum())
    largest = matrix.abs().amax(1, keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    for bits in (4, 8):
        step = largest / (2 ** (bits - 1) - 1)
        if float((matrix - (matrix / step).round() * step).square().sum()) <= HARMLESS * energy:
            return bits
    return None


def most_zeros(matrix: Tensor) -> float:
    """The largest share of a matrix's weights, in whole percent, that may become zero harmlessly: the smallest go."""
    squares = matrix.flatten().square().sort().values.double().cumsum(0)
    count = int(torch.searchsorted(squares, HARMLESS * float(squares[-1]), right=True))
    return floor(100 * min(count / len(squares), 0.99)) / 100


def least_rank(layer: Layer, matrix: Tensor) -> int | None:
    """The rank whose factors are as good as the matrix, None where they would hold no fewer weights."""
    settings = RankSettings(rank=remembered_spectrum(matrix).rank_for(1 - HARMLESS))
    weights = budget(settings, layer.shape)
    return settings.rank if weights is not None and weights < prod(layer.shape) else None


def idle_channels(model: Model, channels: Channels, group: ChannelGroup) -> float:
    """The share of a group's channels whose weights are next to nothing in all its layers, 0..1.

    A channel counts by the squared norms of its rows, each as a share of its layer's, as it does where channels are
    chosen by magnitude.
    """
    scores = defaultdict[int, float](float)
    for name in group.members:
        norms = weight_matrix(model.module(name)).detach().double().square().sum(1)
        shares = norms / norms.sum().clamp_min(1e-30)
        for one, share in zip(channels.outputs[name].tolist(), shares.tolist(), strict=True):
            scores[one] += share
    least = 1.0
    for block, size in enumerate(group.blocks):
        own = [scores[one] for one in scores if channels.blocks.get(one) == (group.name, block)]
        lost = torch.tensor(sorted(own)).cumsum(0)
        idle = int((lost <= HARMLESS).sum())
        least = min(least, min(idle, size - 1) / size)
    return least


def _without_channels(share: float) -> LayerSettings:
    return LayerSettings(channels=ChannelSettings(ratio=share, importance="magnitude"))
