"""The opened model: a graph of real layers that nobody edits, with what is known of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from studio.models.layer import ModelInfo, TensorSpec
from studio.models.onnx_loose import OnnxGraph

#: Dimension that stands in for a free one other than the batch when nothing else is known.
DEFAULT_SIZE = 16


@dataclass(frozen=True, eq=False)
class WeightFile:
    """What a file of weights alone holds.

    Attributes:
        tensors: all of them by name, mapped where the format allows.
        names: by layer, the names of its weight and of its bias, None without one.
    """

    tensors: Mapping[str, torch.Tensor]
    names: Mapping[str, tuple[str, str | None]]


@dataclass(frozen=True, eq=False)
class Model:
    """A model as the engine sees it; never changed after opening.

    Attributes:
        graph: in eval mode, BatchNorm folded, float32 parameters; every layer of ``info.layers`` is a module of the
            kinds ``nn.Conv1d-3d``, ``nn.ConvTranspose1d-3d``, ``nn.Linear`` or ``nn.Embedding`` at its path.
        info: the same model as plain values.
        free_size: size that random inputs take in free dimensions other than the batch.
        weights: what the file holds where it tells nothing else; the graph then only gathers the layers, with weights
            of the file's own type, and must not be run.
        onnx: the file's own graph, where that is what settings are applied to.
    """

    graph: fx.GraphModule
    info: ModelInfo
    free_size: int = DEFAULT_SIZE
    weights: WeightFile | None = None
    onnx: OnnxGraph | None = None

    def module(self, name: str) -> nn.Module:
        """The layer at the dotted path `name`.

        Raises:
            AttributeError: there is none.
        """
        return self.graph.get_submodule(name)

    def stored_name(self, layer: str) -> str:
        """The name that the file's weights have for a layer, where they are all that was opened."""
        return self.weights.names[layer][0].removesuffix(".weight") if self.weights is not None else layer

    def example(self, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Random inputs that fit, the same for the same `seed`; see `example_inputs`."""
        if self.onnx is not None:
            rows = [self.onnx.rows.get(spec.name) for spec in self.info.inputs]
            return random_inputs(self.info.inputs, rows, batch, self.free_size, seed)
        return example_inputs(self.graph, self.info.inputs, batch, self.free_size, seed)


def example_inputs(
    graph: fx.GraphModule, inputs: tuple[TensorSpec, ...], batch: int, free_size: int, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Random inputs that a graph can run on.

    Floating inputs are standard normal. Integer inputs are ids that the embeddings they reach have rows for; those
    that reach none are masks or counts as a rule, and are filled with ones, as are Boolean inputs.

    Args:
        graph: with one placeholder for each of `inputs`.
        inputs: what the graph takes.
        batch: size of the first dimension where that is free.
        free_size: size of the other free dimensions.
        seed: fixes the values.
    """
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    rows = [_rows_reached(graph, node) for _, node in zip(inputs, placeholders, strict=True)]
    return random_inputs(inputs, rows, batch, free_size, seed)


def random_inputs(
    inputs: Sequence[TensorSpec], rows: Sequence[int | None], batch: int, free_size: int, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Random inputs as `example_inputs` makes them; `rows` are those of the table that looks each of them up."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        _random(spec, _shape(spec, batch, free_size), count, generator)
        for spec, count in zip(inputs, rows, strict=True)
    )


def weight_matrix(module: nn.Module) -> torch.Tensor:
    """The layer's weight as the matrix ``[out, in / groups · k · k]`` that rank, groups and spectra refer to.

    An embedding is its table ``[rows, width]``. For all but transposed convolutions it is a view of the weight.
    """
    weight = module.get_parameter("weight")
    if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        grouped = weight.reshape(module.groups, -1, *weight.shape[1:])  # [groups, in / groups, out / groups, *kernel]
        return grouped.transpose(1, 2).flatten(0, 1).flatten(1)
    return weight.flatten(1)


def _shape(spec: TensorSpec, batch: int, free_size: int) -> tuple[int, ...]:
    free = (batch, *[free_size] * (len(spec.shape) - 1))
    return tuple(size if known is None else known for known, size in zip(spec.shape, free, strict=True))


def _random(spec: TensorSpec, shape: tuple[int, ...], rows: int | None, generator: torch.Generator) -> torch.Tensor:
    dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=dtype)
    if rows is None:
        return torch.ones(shape, dtype=dtype)
    return torch.randint(0, rows, shape, generator=generator, dtype=dtype)


def _rows_reached(graph: fx.GraphModule, start: fx.Node) -> int | None:
    """Rows of the smallest embedding that looks up what comes from `start`, None when no embedding does."""
    rows = math.inf
    seen, queue = {start}, [start]
    while queue:
        for user in queue.pop().users:
            if user.op == "call_module":
                module = graph.get_submodule(str(user.target))
                rows = min(rows, module.num_embeddings) if isinstance(module, nn.Embedding) else rows
            elif user not in seen:
                seen.add(user)
                queue.append(user)
    return None if rows == math.inf else int(rows)
