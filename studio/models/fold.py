"""Folding: a BatchNorm behind a layer goes into that layer's weights, so that what is edited is what is exported."""

from collections import Counter

import torch
from torch import Tensor, fx, nn

_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def fold_batch_norms(graph: fx.GraphModule) -> None:
    """Folds every BatchNorm whose only input is a convolution or linear layer that nothing else reads.

    A BatchNorm anywhere else, or behind a layer that is called twice or shares its weights, stays a module.

    Args:
        graph: in eval mode; changed in place. Calls of layers carry the rank of their result in ``meta["rank"]``.
    """
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    uses = Counter(str(node.target) for node in calls)
    owners = Counter(id(p) for module in graph.modules() for p in module.parameters(recurse=False))
    for node in calls:
        source = node.args[0]
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        layer, norm = graph.get_submodule(str(source.target)), graph.get_submodule(str(node.target))
        if not isinstance(layer, _Layer) or not isinstance(norm, _Norm) or norm.running_var is None:
            continue
        shared = owners[id(layer.weight)] > 1 or uses[str(source.target)] > 1
        if not shared and _same_features(layer, source):
            _fold(layer, norm)
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()


def _same_features(layer: _Layer, call: fx.Node) -> bool:
    """Whether the norm's features are the layer's outputs: a linear layer on sequences has its outputs last."""
    return not isinstance(layer, nn.Linear) or call.meta.get("rank") == 2


def _fold(layer: _Layer, norm: _Norm) -> None:
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale, shift = (norm.weight, norm.bias) if norm.affine else (None, None)
    weight, bias = folded(layer.weight, layer.bias, mean, variance, scale, shift, norm.eps)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)


@torch.no_grad()
def folded(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """``W ← W · γ/√(σ² + ε)`` by output and ``b ← (b − μ) · γ/√(σ² + ε) + β``, in float64.

    Args:
        weight: ``[out, …]``.
        bias: ``[out]``, None for zeros; so is everything below.
        mean: running mean μ.
        variance: running variance σ².
        gamma: the norm's scale, None for ones.
        beta: the norm's shift, None for zeros.
        epsilon: what keeps the root from zero.

    Returns:
        Weight and bias of the layer that does the work of both, float32.
    """
    zeros = torch.zeros(len(weight), dtype=torch.float64)
    scale = (variance.double() + epsilon).rsqrt()
    if gamma is not None:
        scale = scale * gamma.double()
    before = bias.double() if bias is not None else zeros
    shift = beta.double() if beta is not None else zeros
    scaled = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return scaled.float(), ((before - mean.double()) * scale + shift).float()
