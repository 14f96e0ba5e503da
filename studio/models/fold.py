"""Folding: a BatchNorm behind a layer becomes part of that layer's weights, so that what is edited is what is exported."""

import torch
from torch import fx, nn

_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(graph: fx.GraphModule) -> None:
    """Folds every BatchNorm whose only input is a convolution or linear layer that nothing else reads.

    A BatchNorm anywhere else, or behind a layer that is called twice or shares its weights, stays a module.

    Args:
        graph: in eval mode; changed in place.
    """
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    targets = [str(node.target) for node in calls]
    owners = _owners(graph)
    for node in calls:
        norm = graph.get_submodule(str(node.target))
        source = node.args[0] if node.args else None
        if not isinstance(norm, _NORMS) or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        layer = graph.get_submodule(str(source.target))
        alone = len(source.users) == 1 and targets.count(str(source.target)) == targets.count(str(node.target)) == 1
        if isinstance(layer, _FOLDABLE) and alone and owners[id(layer.weight)] == 1 and _per_feature(layer, norm):
            _fold(layer, norm)
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()


def _fold(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear, norm: nn.Module) -> None:
    """``W ← W · γ/√(σ² + ε)`` by output, ``b ← (b − μ) · γ/√(σ² + ε) + β``, in float64."""
    assert isinstance(norm, _NORMS)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = layer.bias.detach().double() if layer.bias is not None else torch.zeros_like(scale)
    shift = norm.bias.detach().double() if norm.bias is not None else torch.zeros_like(scale)
    folded = layer.weight.detach().double() * scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight = nn.Parameter(folded.float())
    layer.bias = nn.Parameter(((bias - norm.running_mean.double()) * scale + shift).float())


def _per_feature(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether the norm's features are the layer's outputs; a linear layer on sequences has them last, not second."""
    assert isinstance(norm, _NORMS)
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    return norm.running_mean is not None and norm.running_var is not None and norm.num_features == outputs


def _owners(graph: fx.GraphModule) -> dict[int, int]:
    """How many modules hold each parameter, by the parameter's id."""
    counts: dict[int, int] = {}
    for module in graph.modules():
        for parameter in module.parameters(recurse=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts
