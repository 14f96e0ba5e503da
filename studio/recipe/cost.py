"""What a recipe costs: bytes of the exported file, parameters and arithmetic, from shapes alone.

Pure arithmetic, so that the window can tell the size of the file at every move of a slider. The byte counts follow
what `studio.export` writes: a changed layer changes no name outside itself, so that the file's size is that of the
uncompressed one plus the difference of each changed layer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

from studio.models.layer import Layer, ModelInfo
from studio.recipe.protobuf import node_size, tensor_size, varint_size
from studio.recipe.recipe import Recipe
from studio.recipe.settings import CONTAINER_BITS, LayerSettings, PruneSettings, QuantizeSettings

_FLOAT = 4
_INT64 = 8

#: Stands for the name of a layer's input, whose length hardly matters: it is in the file before and after.
_INPUT = "Relu_12"


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs with its settings.

    Attributes:
        bytes: of the exported file, names and scales included; an unchanged layer counts its weights and bias.
        parameters: weights and biases that are stored, zeros included.
        nonzeros: those that pruning does not set to zero.
        macs: multiply-accumulate operations for one sample.
        notes: why a number does not move, or not as one might think.
    """

    bytes: int
    parameters: int
    nonzeros: int
    macs: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCost:
    """What the whole model costs with a recipe.

    Attributes:
        bytes: size of the exported file.
        parameters: as `LayerCost`, with those that belong to no layer.
        nonzeros: as `LayerCost`.
        macs: of all layers for one sample.
        layers: by name, unchanged ones included.
    """

    bytes: int
    parameters: int
    nonzeros: int
    macs: int
    layers: Mapping[str, LayerCost]


def model_cost(info: ModelInfo, recipe: Recipe, ranks: Mapping[str, int], export_size: int) -> ModelCost:
    """The cost of a model with a recipe.

    Args:
        info: the model.
        recipe: what is chosen.
        ranks: rank of every layer whose settings give an energy, as far as it is known.
        export_size: bytes of the uncompressed model as `studio.export` writes it.
    """
    settings = recipe.settings_of(info.layers)
    costs = {layer.name: layer_cost(layer, settings[layer.name], ranks.get(layer.name)) for layer in info.layers}
    changes = [(layer, costs[layer.name]) for layer in info.layers]
    size = export_size + sum(cost.bytes - layer.bytes for layer, cost in changes)
    added = sum(cost.parameters - layer.parameters for layer, cost in changes)
    zeros = sum(cost.parameters - cost.nonzeros for cost in costs.values())
    return ModelCost(
        bytes=size + varint_size(size) - varint_size(export_size),  # the length of the graph within the file
        parameters=info.parameters + added,
        nonzeros=info.parameters + added - zeros,
        macs=info.macs + sum(cost.macs - layer.macs for layer, cost in changes),
        layers=costs,
    )


@lru_cache(maxsize=8192)  # one edit changes one layer
def layer_cost(layer: Layer, settings: LayerSettings, rank: int | None = None) -> LayerCost:
    """The cost of one layer.

    Args:
        layer: the original.
        settings: in canonical form.
        rank: what an energy comes to for this layer; a rank that the settings give goes first. While neither is
            known the layer counts as it is, and a note says so.
    """
    if settings.is_empty:
        return _unchanged(layer)
    if settings.rank is not None:
        rank = settings.rank.rank or rank
        if rank is None:
            return _unchanged(layer, "the rank is not known before the layer's singular values are")
    else:
        rank = None
    shapes = _stored_shapes(layer, rank)
    zeros = _zeros(shapes.values(), settings)
    weights, original = sum(prod(shape) for shape in shapes.values()), prod(layer.shape)
    parameters = layer.parameters - original + weights
    before = tensor_size(f"{layer.name}.weight", layer.shape, _FLOAT * original)
    stored = sum(_stored_size(name, shape, settings.quantize) for name, shape in shapes.items())
    size = layer.bytes + stored - before + (_nodes_added(layer) if rank is not None else 0)
    return LayerCost(
        bytes=size,
        parameters=parameters,
        nonzeros=parameters - zeros,
        macs=layer.macs * weights // original,
        notes=tuple(_notes(layer, settings, rank, size, zeros)),
    )


def _unchanged(layer: Layer, *notes: str) -> LayerCost:
    return LayerCost(layer.bytes, layer.parameters, layer.parameters, layer.macs, notes)


def _stored_shapes(layer: Layer, rank: int | None) -> dict[str, tuple[int, ...]]:
    """Shapes of the stored weights by name: the weight itself or its two factors."""
    if rank is None:
        return {f"{layer.name}.weight": layer.shape}
    ones = (1,) * (len(layer.shape) - 2)
    return {
        f"{layer.name}.first.weight": (rank, *layer.shape[1:]),
        f"{layer.name}.second.weight": (layer.shape[0], rank, *ones),
    }


def _zeros(shapes: Iterable[tuple[int, ...]], settings: LayerSettings) -> int:
    if settings.prune is None:
        return 0
    return sum(settings.prune.zeros(shape[0], prod(shape[1:])) for shape in shapes)


def _stored_size(name: str, shape: tuple[int, ...], settings: QuantizeSettings | None) -> int:
    """Bytes of a stored weight with all that it takes to read it, as `studio.export.onnx_weights` writes it."""
    count = prod(shape)
    if settings is None:
        return tensor_size(name, shape, _FLOAT * count)
    out, columns = shape[0], count // shape[0]
    grouped = settings.granularity == "group"
    scales = {"tensor": (), "channel": (out,), "group": (out, ceil(columns / settings.group_size))}
    scale = scales[settings.granularity]
    through_matrix = grouped or len(shape) == 2
    stored = (out, columns) if through_matrix else shape
    attributes = ({"axis": 1} if scale else {}) | ({"block_size": settings.group_size} if grouped else {})
    size = tensor_size(f"{name}_quantized", stored, ceil(count * CONTAINER_BITS[settings.weight_bits] / 8))
    size += tensor_size(f"{name}_scale", scale, _FLOAT * prod(scale))
    inputs = (f"{name}_quantized", f"{name}_scale")
    matrix = f"{name}_matrix" if through_matrix else name
    size += node_size(f"{name}_dequantize", "DequantizeLinear", inputs, matrix, attributes)
    if through_matrix:
        size += tensor_size(f"{name}_shape", (len(shape),), _INT64 * len(shape))
        size += node_size(f"{name}_reshape", "Reshape", (matrix, f"{name}_shape"), name, {})
    return size


def _nodes_added(layer: Layer) -> int:
    """Bytes that the nodes of two factors take more than the one node of the layer."""
    name, bias = layer.name, [f"{layer.name}.bias"] if layer.has_bias else []
    dimensions = len(layer.shape) - 2
    kind, second_kind = ("Conv", "Conv") if dimensions else ("MatMul", "Gemm" if bias else "MatMul")
    own: dict[str, int | tuple[int, ...]] = {}
    if dimensions:
        own["kernel_shape"] = (1,) * dimensions
    elif bias:
        own["transB"] = 1
    whole = own | ({"pads": (1,) * 2 * dimensions} if max(layer.shape[2:], default=1) > 1 else {})
    first, second = f"{name}.first", f"{name}.second"
    return (
        node_size(first, kind, (_INPUT, f"{first}.weight"), first, whole if dimensions else {})
        + node_size(second, second_kind, (first, f"{second}.weight", *bias), name, own)
        - node_size(name, second_kind, (_INPUT, f"{name}.weight", *bias), name, whole)
    )


def _notes(layer: Layer, settings: LayerSettings, rank: int | None, size: int, zeros: int) -> Iterator[str]:
    if settings.prune:
        yield from _pruning_notes(settings.prune, zeros)
    if rank is not None and rank >= layer.break_even_rank:
        yield f"rank {rank} is above break-even {layer.break_even_rank:.1f}: two factors are larger than the layer"
    if settings.quantize:
        yield "integers are turned back into floats to compute: the file shrinks, the arithmetic does not"
        bits = settings.quantize.weight_bits
        if bits != CONTAINER_BITS[bits]:
            yield f"{bits}-bit weights take 4 bits each, the fewest that ONNX can store and run: no smaller than 4 bits"
        columns = layer.matrix_shape[1]
        if settings.quantize.granularity == "group" and rank is None and settings.quantize.group_size >= columns:
            yield f"a row holds only {columns} weights: one group is the whole row, as with channels"
    if size > layer.bytes and (rank is None or rank < layer.break_even_rank):
        yield "the layer is so small that names and scales take more bytes than its weights save"


def _pruning_notes(prune: PruneSettings, zeros: int) -> Iterator[str]:
    yield "zeros are stored and multiplied: neither the file nor the arithmetic shrinks"
    if prune.kind == "n_m" and zeros:
        yield f"runtimes on a CPU make no use of {prune.n}:{prune.m} zeros; some accelerators do, with 2:4"
    elif prune.kind == "n_m":
        yield f"no row holds more than {prune.n} weights: {prune.n}:{prune.m} leaves all of them"
