"""The inputs of a layer as the rows that its weight matrix multiplies."""

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.models.convolution import Conv, padding_amounts

#: Kinds of layer whose work is ``x Wᵀ`` for rows x, so that ``E[x xᵀ]`` says what its inputs look like.
HasRows = nn.Linear | Conv


def layer_at(graph: fx.GraphModule, name: str) -> HasRows:
    """The layer at the dotted path `name`.

    Raises:
        AttributeError: there is none.
        TypeError: it is no linear layer or convolution.
    """
    layer = graph.get_submodule(name)
    if not isinstance(layer, HasRows):
        raise TypeError(f"{name} is a {type(layer).__name__}, which cannot be compressed")
    return layer


def input_rows(layer: HasRows, x: Tensor) -> Tensor:
    """Unfolds a layer's input.

    Args:
        layer: a linear layer or a convolution.
        x: its input, ``[..., in]`` or ``[batch, in, *size]``.

    Returns:
        ``[groups, positions, in / groups · k · k]``: every row is what one output position sees, its columns in
        the order of ``layer.weight.flatten(1)``.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, layer.in_features)
    patches = F.pad(x, padding_amounts(layer))
    for axis, (size, stride, dilation) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=2
    ):
        patches = patches.unfold(axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    spatial = len(layer.kernel_size)
    patches = patches.reshape(len(x), layer.groups, -1, *patches.shape[2:])  # splits the channels; still a view
    positions, kernel = range(3, 3 + spatial), range(3 + spatial, 3 + 2 * spatial)
    columns = layer.in_channels // layer.groups * torch.Size(layer.kernel_size).numel()
    # copied column by column, along which neighbours in the input stay neighbours: several times faster than by row
    patches = patches.permute(1, 2, *kernel, 0, *positions)
    return patches.reshape(layer.groups, columns, -1).mT


def output_rows(layer: HasRows, y: Tensor) -> Tensor:
    """A layer's output in the order of `input_rows`: ``[groups, positions, out / groups]``."""
    if isinstance(layer, nn.Linear):
        return y.reshape(1, -1, layer.out_features)
    grouped = y.reshape(len(y), layer.groups, layer.out_channels // layer.groups, -1)
    return grouped.permute(1, 0, 3, 2).flatten(1, 2)
