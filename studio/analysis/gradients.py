"""How a model's loss leans on every channel: what first-order (Taylor) importance is made of.

Each layer's output channels are thought to pass a gate g, which is 1. Closing the gates of a channel changes the loss
L of a sample by ``−Σ ∂L/∂g`` to first order (P. Molchanov et al., Importance estimation for neural network pruning,
CVPR 2019, arXiv 1906.10771, with gates behind the layers). With ``y = g · a`` the derivative is ``Σ a · ∂L/∂a`` over
all places of the channel, and equals ``Σ w · ∂L/∂w + b · ∂L/∂b`` of its weights and bias.

Without labels L is the divergence from the model's own answer. Its slope is nought, so that its curvature counts:
``KL ≈ ½ δᵀ F δ`` with Fisher's F, whose diagonal is the mean square of the same derivative for labels drawn from the
model's own answer. So labels are drawn, and all else is the same; of outputs that are no scores of classes the signs
of a random projection are drawn, which does the same for the squared difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.analysis.calibration import Batch
from studio.analysis.inputs import HasRows, layer_at
from studio.models.model import Model
from studio.progress import Progress, Report, silent

#: Samples whose activations are held at once: going backwards takes all of them.
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Gradients:
    """The derivatives of every sample's loss by the gates of all channels.

    Attributes:
        gates: by layer ``∂L/∂g``, float32 ``[samples, out]``; layers that the loss does not depend on have zeros.
        labelled: whether the losses are those of given labels.
    """

    gates: Mapping[str, Tensor]
    labelled: bool


def gather_gradients(
    model: Model, batches: Sequence[Batch], labels: Sequence[Tensor] | None, report: Report = silent
) -> Gradients:
    """Runs samples forwards and backwards through a model.

    Args:
        model: the original.
        batches: the model's inputs, first dimension the batch.
        labels: what is wanted for each batch: classes, classes of every token, or values; None draws them from the
            model's own answers, the same ones every time.
        report: told of every batch; raising `Cancelled` from it stops the work.
    """
    names = [layer.name for layer in model.info.layers if isinstance(model.module(layer.name), HasRows)]
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    draw = torch.Generator().manual_seed(0)
    for done, batch in enumerate(batches, start=1):
        wanted = labels[done - 1] if labels is not None else None
        for start in range(0, len(batch[0]), _AT_ONCE):
            slot = slice(start, start + _AT_ONCE)
            run = _Gated(model.graph, names, len(batch[0][slot]))
            given = None if wanted is None else wanted[slot]
            slopes = run.slopes([part[slot] for part in batch], given, draw)
            for name in names:
                parts[name].append(slopes[name])
        report(Progress(done, len(batches), "Learning what the loss leans on"))
    return Gradients({name: torch.cat(found) for name, found in parts.items()}, labels is not None)


def summed_loss(output: Tensor, labels: Tensor | None, draw: torch.Generator) -> Tensor:
    """The losses of all samples in sum.

    Args:
        output: of the model, ``[batch, …]``; several numbers for each sample (and token) are scores of classes unless
            the labels are no classes.
        labels: classes ``[batch]`` or ``[batch, tokens]`` (of a single score: whether it is to be above nought), or
            wanted values; None draws them.
        draw: where from.
    """
    if labels is not None and labels.is_floating_point():
        return (output - labels.reshape(output.shape)).square().flatten(1).mean(1).sum()
    tokens = output.dim() == 3 and (labels is None or labels.dim() == 2)
    scores = output.flatten(0, 1) if tokens else output.flatten(1)
    if labels is None and (output.dim() > 3 or scores.shape[1] == 1):
        signs = torch.randint(0, 2, scores.shape, generator=draw) * 2 - 1
        return (scores * signs).sum()
    if labels is None:
        labels = torch.multinomial(scores.detach().softmax(1), 1, generator=draw)
    if scores.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(scores.flatten(), (labels.flatten() > 0).float(), reduction="sum")
    return F.cross_entropy(scores, labels.flatten(), reduction="sum")


class _Gated(fx.Interpreter):
    """Runs the graph with a gate behind every layer, one for each sample and channel."""

    def __init__(self, graph: fx.GraphModule, names: Sequence[str], samples: int) -> None:
        super().__init__(graph)
        self._gates = {
            name: torch.ones(samples, len(layer_at(graph, name).weight), requires_grad=True) for name in names
        }

    def slopes(self, inputs: Sequence[Tensor], labels: Tensor | None, draw: torch.Generator) -> dict[str, Tensor]:
        """The derivatives by layer, ``[samples, out]``."""
        with torch.enable_grad():
            output = self.run(*inputs)
            first = output[0] if isinstance(output, tuple | list) else output
            loss = summed_loss(first, labels, draw)
            gates = list(self._gates.values())
            found = torch.autograd.grad(loss, gates, allow_unused=True)
        zeros = (torch.zeros_like(gate) for gate in gates)
        slopes = (zero if slope is None else slope for slope, zero in zip(found, zeros, strict=True))
        return {name: slope.detach() for name, slope in zip(self._gates, slopes, strict=True)}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.fetch_attr(target)
        output = layer(*args, **kwargs)
        gate = self._gates.get(target)
        if gate is None or len(output) % len(gate):
            return output
        each = gate.repeat_interleave(len(output) // len(gate), 0)  # samples that are cut into several
        places = (1,) * (output.dim() - 2)
        shape = (len(each), *places, each.shape[1]) if isinstance(layer, nn.Linear) else (*each.shape, *places)
        return output * each.reshape(shape)
