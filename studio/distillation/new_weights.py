"""New weights for a network that is to learn from nothing, so scaled that its signals neither grow nor vanish."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn


@torch.no_grad()
def draw(graph: fx.GraphModule, seed: int, examples: Sequence[Tensor]) -> None:
    """Gives every module of `graph` new weights.

    Weights are normal by fan-in (K. He et al., Delving deep into rectifiers, arXiv 1502.01852), norms pass their input
    on, and then every convolution and linear layer in running order is divided by the standard deviation of what it
    gives for `examples` (D. Mishkin and J. Matas, All you need is a good init, arXiv 1511.06422; here without their
    orthogonal start, and in one pass, as division is exact). Without that the signals of a residual network whose norms
    a file has folded away double in power with every block.

    Biases are as small as PyTorch draws them, not zero: those a file would leave out.

    Args:
        graph: changed in place.
        seed: fixes the weights.
        examples: inputs of the graph, batch first.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in graph.modules():
        _draw(module, generator)
    scaled = set[nn.Module]()

    def rescaled(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if layer in scaled:  # a layer that runs twice has one weight
            return output
        scaled.add(layer)
        return _rescaled(layer, output)

    layers = [module for module in graph.modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)]
    hooks = [layer.register_forward_hook(rescaled) for layer in layers]
    try:
        graph(*examples)
    finally:
        for hook in hooks:
            hook.remove()


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.reset_running_stats()
    weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
    if not isinstance(weight, nn.Parameter):
        return
    if weight.dim() > 1:
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    else:
        weight.fill_(1.0)
    if isinstance(bias, nn.Parameter):
        bound = weight[0].numel() ** -0.5 if weight.dim() > 1 else 0.0
        bias.uniform_(-bound, bound, generator=generator)


def _rescaled(layer: nn.Module, output: Tensor) -> Tensor:
    """Brings a layer's output to standard deviation 1; one that says nothing stays as it is."""
    spread = output.std()
    if not (spread.isfinite() and spread > 0):
        return output
    for parameter in layer.parameters(recurse=False):
        parameter.div_(spread)
    return output / spread
