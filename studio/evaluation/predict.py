"""Whatever turns inputs into outputs, a torch graph or a session of another runtime alike."""

from collections.abc import Callable

import torch
from torch import Tensor, fx

#: Gets a model's inputs, batch first, and gives its first output ``[batch, …]``.
Predict = Callable[[tuple[Tensor, ...]], Tensor]


def torch_predict(graph: fx.GraphModule) -> Predict:
    """A `Predict` that runs `graph` where its parameters are and gives the output on the CPU.

    The graph must be in eval mode, as `studio.models` and `studio.compression` leave it.
    """
    device = next((parameter.device for parameter in graph.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def predict(inputs: tuple[Tensor, ...]) -> Tensor:
        return first_output(graph(*(part.to(device) for part in inputs))).to("cpu")

    return predict


def first_output(outputs: object) -> Tensor:
    """The first of a graph's outputs, which is the one that is measured and trained.

    Raises:
        TypeError: it is no tensor.
    """
    first = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    if not isinstance(first, Tensor):
        raise TypeError(f"the graph gives {type(first).__name__} where a tensor is expected")
    return first
