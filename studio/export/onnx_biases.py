"""Biases in an ONNX file: a layer that has one keeps it, as its own and at any values.

The exporter leaves out biases of zeros and shares equal ones. Training makes others of them, so that the file would
grow by what no prediction of its size knows of.
"""

from collections.abc import Collection, Iterable

import numpy as np
import onnx_ir as ir
import torch
from torch import fx, nn

from studio.export.onnx_names import Places, is_bias
from studio.export.onnx_weights import initializer


def hide_zeros(graph: fx.GraphModule, layers: Iterable[str]) -> set[str]:
    """Puts other values in the place of every bias of zeros, which the exporter would leave out.

    Args:
        graph: its modules are changed, the tensors in them are not.
        layers: paths of those whose biases count.

    Returns:
        The layers, for `restore_biases`.
    """
    hidden = set[str]()
    modules = dict(graph.named_modules(remove_duplicate=False))
    for name in filter(modules.__contains__, layers):  # a shallower copy has not all of them
        for module in modules[name].modules():
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter) and not bias.any():
                module.bias = nn.Parameter(torch.ones_like(bias), requires_grad=False)
                hidden.add(name)
    return hidden


def restore_biases(graph: ir.Graph, places: Places, hidden: Collection[str]) -> None:
    """Gives each layer a bias of its own again, of zeros where they were hidden.

    Args:
        graph: fresh from the exporter.
        places: where each node belongs.
        hidden: layers whose biases are zeros, see `hide_zeros`.
    """
    owners, zeros = dict[ir.Value, str](), dict[str, ir.Value]()
    for node in graph:
        place = places[node]
        for position, value in enumerate(node.inputs if place is not None else ()):
            if place is None or value is None or value.const_value is None or not is_bias(node, position):
                continue
            values = value.const_value.numpy()
            if place.layer in hidden:
                if place.layer not in zeros:
                    zeros[place.layer] = initializer(graph, f"{place.layer}.zero_bias", np.zeros_like(values))
                node.replace_input_with(position, zeros[place.layer])
            elif owners.setdefault(value, place.layer) != place.layer:
                node.replace_input_with(position, initializer(graph, f"{place.layer}.own_bias", values))
