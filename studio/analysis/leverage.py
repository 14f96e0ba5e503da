"""How much of a layer's error reaches the model's outputs: a forecast for any setting, from one pass backwards.

A layer that gives ``a + δ`` instead of a moves the outputs y by ``J δ`` to first order. For errors that know nothing of
each other at different places and channels, ``E‖J δ‖² = Σ_c G_c · E[δ_c²]`` with ``G_c = Σ_places E‖∂y/∂a_c‖²``; and
the norm of all derivatives at once is the mean square of those of ``s · y`` for random signs s (Hutchinson 1990). The
error of a channel ``E[δ_c²] = (ΔW H ΔWᵀ)_cc`` is known from the second moment H of the layer's inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from studio.analysis.calibration import Batch
from studio.analysis.inputs import HasRows
from studio.models.model import Model


@dataclass(frozen=True, eq=False)
class Leverage:
    """What the outputs feel of each channel.

    Attributes:
        channels: by layer ``G / E‖y‖²``, float64 ``[out]``; zeros where the outputs do not depend on a layer.
    """

    channels: Mapping[str, Tensor]


def gather_leverage(model: Model, batches: Sequence[Batch]) -> Leverage | None:
    """Runs samples forwards and backwards through a model.

    Args:
        model: the original.
        batches: the model's inputs, first dimension the batch; all activations of a batch are held at once.

    Returns:
        None where the outputs are no numbers that lean on the layers, such as the classes themselves.
    """
    layers = {
        layer.name: module for layer in model.info.layers if isinstance(module := model.module(layer.name), HasRows)
    }
    squares = {name: torch.zeros(len(module.weight), dtype=torch.float64) for name, module in layers.items()}
    draw, power = torch.Generator().manual_seed(0), 0.0
    for batch in batches:
        run = _Probed(model.graph, layers)
        with torch.enable_grad():
            output = run.run(*batch)
            first = output[0] if isinstance(output, tuple | list) else output
            if not (run.probes and first.requires_grad):
                return None
            signs = torch.randint(0, 2, first.shape, generator=draw) * 2.0 - 1.0
            slopes = torch.autograd.grad((first * signs).sum(), [probe for _, probe in run.probes], allow_unused=True)
        power += float(first.detach().double().square().sum())
        for (name, _), slope in zip(run.probes, slopes, strict=True):
            if slope is not None:
                axis = -1 if isinstance(layers[name], nn.Linear) else 1
                squares[name] += slope.double().square().movedim(axis, 0).flatten(1).sum(1)
    return Leverage({name: found / power for name, found in squares.items()}) if power > 0 else None


class _Probed(fx.Interpreter):
    """Runs the graph with noughts added to what each layer gives, by which derivatives can be asked for.

    Attributes:
        probes: them by layer, once for every time that it ran.
    """

    def __init__(self, graph: fx.GraphModule, layers: Mapping[str, HasRows]) -> None:
        super().__init__(graph)
        self._layers = layers
        self.probes: list[tuple[str, Tensor]] = []

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = super().call_module(target, args, kwargs)
        if target not in self._layers:
            return output
        probe = torch.zeros_like(output, requires_grad=True)
        self.probes.append((target, probe))
        return output + probe
