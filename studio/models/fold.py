"""Folding: a BatchNorm behind a layer goes into that layer's weights, so that what is edited is what is exported."""

from collections import Counter

import torch
from torch import fx, nn

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
        shared = owners[id(layer.weight)] > 1 or uses[str(source.target)] > 1 or uses[str(node.target)] > 1
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
    """``W ← W · γ/√(σ² + ε)`` by output and ``b ← (b − μ) · γ/√(σ² + ε) + β``, in float64."""
    zeros = torch.zeros(norm.num_features, dtype=torch.float64)
    mean, variance = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.detach().double()
    bias = layer.bias.detach().double() if layer.bias is not None else zeros
    shift = norm.bias.detach().double() if norm.affine else zeros
    folded = layer.weight.detach().double() * scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight = nn.Parameter(folded.float())
    layer.bias = nn.Parameter(((bias - mean) * scale + shift).float())
