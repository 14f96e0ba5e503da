"""The last layer of a classifier, fitted to what its scores say and not to the scores themselves.

A rank below the number of classes cannot hold all scores, and the nearest ones in least squares hold the large ones,
not the differences that decide. From that start its factors, or kept weights, and its bias are moved to bring the
*distribution* of the classes back to the original's, by some steps of L-BFGS over the calibration samples; no label is
used:

    minimise  T² · KL(softmax(z / T) ‖ softmax(ẑ / T)) + λ · (z − ẑ)²

Hinton et al. 2015, arXiv 1503.02531. The second term holds what the distribution leaves open.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.compression.modules import CompressedLayer, CompressedLinear
from studio.compression.stored import DenseWeight

#: T and λ, chosen on held-out training images.
_TEMPERATURE = 2.0
_SQUARES = 0.01

_STEPS = 100

#: Scores (samples · classes) up to which the fit is a matter of a second or so; beyond it least squares stand.
_MOST_SCORES = 2**20


def gives_scores(graph: fx.GraphModule, name: str) -> bool:
    """Whether the layer at the path `name` is a linear one of several outputs that are the model's only output."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    layer = graph.get_submodule(name)
    last = output.all_input_nodes
    is_last = len(last) == 1 and last[0].op == "call_module" and last[0].target == name
    return is_last and isinstance(layer, nn.Linear) and layer.out_features > 1


def fitted_to_scores(
    layer: CompressedLayer, inputs: Sequence[Tensor], scores: Sequence[Tensor], bias_correction: bool = True
) -> CompressedLayer:
    """A copy of a layer of floats whose class probabilities are nearer to the wanted ones; zeros stay zero.

    Args:
        layer: a compressed linear layer, whole or factored.
        inputs: what it is given, by batch, ``[..., in]``.
        scores: z, what the original gives for the same samples, ``[..., classes]``.
        bias_correction: whether the bias may change.

    Returns:
        The copy; the layer itself where it holds rounded weights or there is more to compute than is worth it.
    """
    parts = _parts(layer)
    if not all(isinstance(part.stored, DenseWeight) for part in parts):
        return layer
    if sum(z.numel() for z in scores) > _MOST_SCORES:
        return layer
    x, z = (torch.cat([part.flatten(0, -2) for part in given]).double() for given in (inputs, scores))
    moved = copy.deepcopy(layer)
    for part in _parts(moved):
        part.stored = part.stored.trainable()
    moved.double().requires_grad_()
    for part in _parts(moved):
        if part.bias is not None:
            part.bias.requires_grad_(bias_correction)
    with torch.enable_grad():
        _descend(moved, x, z)
    for part in _parts(moved):
        part.stored = part.stored.frozen()
    return moved.float().requires_grad_(False)


def _descend(layer: CompressedLayer, x: Tensor, z: Tensor) -> None:
    """Moves the parameters of `layer` that train towards the least distance of what it makes of `x` from `z`."""
    parameters = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.LBFGS(parameters, max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        distance = _distance(z, layer(x))
        distance.backward()  # type: ignore[no-untyped-call]
        return distance

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _distance(wanted: Tensor, given: Tensor) -> Tensor:
    """The objective of this module, averaged over samples ``[samples, classes]``."""
    predicted, target = ((z / _TEMPERATURE).log_softmax(-1) for z in (given, wanted))
    divergence = F.kl_div(predicted, target, reduction="batchmean", log_target=True)
    return _TEMPERATURE**2 * divergence + _SQUARES * F.mse_loss(given, wanted)


def _parts(layer: CompressedLayer) -> list[CompressedLinear]:
    return [module for module in layer.modules() if isinstance(module, CompressedLinear)]
