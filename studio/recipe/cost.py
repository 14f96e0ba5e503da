"""What a recipe costs: bytes of the exported file, parameters and arithmetic, from shapes alone.

Pure arithmetic, so that the window can tell the size of the file at every move of a slider. The byte counts follow
what `studio.export` writes: a changed layer changes no name outside itself, so that the file's size is that of the
uncompressed one plus the difference of each changed layer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import prod

from studio.models.layer import Axis, Layer, ModelInfo
from studio.recipe.channels import fitted
from studio.recipe.factorization import PARTS, Factorization, budget, candidates, carrier
from studio.recipe.graph_factors import factored_size
from studio.recipe.graph_form import form_notes, form_of
from studio.recipe.packed import Stored, metadata_size, stored_weight
from studio.recipe.protobuf import field_size, node_size, tensor_size, varint_size
from studio.recipe.recipe import Recipe
from studio.recipe.rounding import guarded_layers, nbits_layers, rounded_layers, rounded_sites, runs_in_integers
from studio.recipe.settings import CONTAINER_BITS, LayerSettings, PruneSettings, QuantizeSettings
from studio.recipe.stored_size import domain_size, product_size, stored_size

_FLOAT = 4

#: Stands for the name of a layer's input where it is not known. Its length hardly matters: it is in the file before and
#: after.
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


def model_cost(info: ModelInfo, recipe: Recipe, factors: Mapping[str, Factorization], export_size: int) -> ModelCost:
    """The cost of a model with a recipe.

    Args:
        info: the model.
        recipe: what is chosen.
        factors: how layers with a rank are split, as far as it is known.
        export_size: bytes of the uncompressed model as `studio.export` writes it.
    """
    settings, narrowed = recipe.settings_of(info.layers), recipe.narrowed(info.layers)
    costs = {
        layer.name: rest_cost(layer, narrowed[layer.name], settings[layer.name], factors.get(layer.name))
        for layer in info.layers
    }
    changes = [(layer, costs[layer.name]) for layer in info.layers]
    size = export_size + sum(cost.bytes - layer.bytes for layer, cost in changes)
    size += _sites_size(info, rounded_sites(info.operators, rounded_layers(settings)))
    size += sum(_guarded_bias_added(narrowed[name]) for name in guarded_layers(info.operators, settings))
    size += domain_size() if nbits_layers(info.layers, settings) or _declares_domain(info, settings) else 0
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
def layer_cost(layer: Layer, settings: LayerSettings, factors: Factorization | None = None) -> LayerCost:
    """The cost of one layer.

    Args:
        layer: the original.
        settings: in canonical form.
        factors: how it is split, if it has a rank. Where that is not known yet the matrix form counts, which holds as
            many weights as any other may; an energy not known either leaves the layer as it is, with a note.
    """
    if settings.is_empty:
        return _unchanged(layer)
    if settings.rank is not None and factors is None:
        weights = budget(settings.rank, layer.shape)
        if weights is None:
            return _unchanged(layer, "the rank is not known before the layer's singular values are")
        factors = next(candidates(settings.rank, layer.shape, weights))
    if settings.rank is None:
        factors = None
    shapes = _stored_shapes(layer, factors)
    zeros = _zeros(shapes.values(), settings)
    weights, original = sum(prod(shape) for shape in shapes.values()), prod(layer.shape)
    parameters = layer.parameters - original + weights
    if layer.held is not None and factors is not None:
        size = layer.bytes - layer.held.size
        size += factored_size(layer.held, layer.shape, layer.dtype or "F32", settings.quantize, factors)
    elif layer.held is not None:
        form = form_of(layer.held, layer.shape, layer.dtype or "F32", settings.quantize)
        size = layer.bytes + (form.size - layer.held.size if form.tensors else 0)
    elif layer.dtype is not None:
        size = _bytes_alone(layer, layer.dtype, shapes, settings.quantize)
    else:
        size = _bytes_in_network(layer, shapes, settings, factors)
    return LayerCost(
        bytes=size,
        parameters=parameters,
        nonzeros=parameters - zeros,
        macs=layer.macs if factors is None else _macs(layer, factors),
        notes=tuple(_notes(layer, settings, factors, size, zeros)),
    )


def _bytes_in_network(
    layer: Layer, shapes: Mapping[str, tuple[int, ...]], settings: LayerSettings, factors: Factorization | None
) -> int:
    """Bytes of a changed layer in an ONNX file."""
    before = tensor_size(f"{layer.name}.weight", layer.shape, _FLOAT * prod(layer.shape))
    integer = runs_in_integers(settings)
    stored = sum(_part_size(layer, name, shape, settings, integer) for name, shape in shapes.items())
    stored += _integer_bias_added(layer) if integer and _has_own_bias(layer) else 0
    return layer.bytes + stored - before + (_nodes_added(layer, factors) if factors is not None else 0)


def _part_size(layer: Layer, name: str, shape: tuple[int, ...], settings: LayerSettings, integer: bool) -> int:
    """Bytes of the weight of a layer or of a factor, and what its node takes more than that of floats."""
    chosen = settings.quantize
    if chosen is None or chosen.product_of(shape) == "portable":
        return stored_size(name, shape, chosen, integer)
    last = name != f"{layer.name}.{PARTS[0]}.weight"
    own_bias = f"{layer.name}.bias" if last and _has_own_bias(layer) else None
    return product_size(name.removesuffix(".weight"), shape, chosen, own_bias)


def _declares_domain(info: ModelInfo, settings: Mapping[str, LayerSettings]) -> bool:
    """Whether a graph that is written as it was has to say that it uses ONNX Runtime's own operators."""
    held = [(layer, layer.held) for layer in info.layers if layer.held is not None and not layer.held.owned]
    return any(
        form_of(place, layer.shape, layer.dtype or "F32", settings[layer.name].quantize).owned for layer, place in held
    )


def _bytes_alone(
    layer: Layer, dtype: str, shapes: Mapping[str, tuple[int, ...]], settings: QuantizeSettings | None
) -> int:
    """Bytes of a changed layer in a file of weights alone."""
    stored = [tensor for name, shape in shapes.items() for tensor in stored_weight(name, shape, settings, dtype)]
    integers = settings is not None and settings.weight_bits < 16
    told = sum(metadata_size(name, shape) for name, shape in shapes.items()) if integers else 0
    before = Stored(f"{layer.name}.weight", dtype, layer.shape)
    return layer.bytes + sum(tensor.size for tensor in stored) + told - before.size


@lru_cache(maxsize=8192)
def rest_cost(layer: Layer, rest: Layer, settings: LayerSettings, factors: Factorization | None = None) -> LayerCost:
    """The cost of what stays of a layer.

    Args:
        layer: the original.
        rest: the layer without the channels that go (`Recipe.narrowed`), which the settings then apply to.
        settings: of the layer, in canonical form.
        factors: how the rest is split, if it has a rank.
    """
    cost = layer_cost(rest, fitted(settings, rest), factors)
    if rest == layer:
        return cost
    bias = (rest.shape[:1], layer.shape[:1]) if layer.has_bias else ((0,), (0,))
    heads = _head_size(layer.name, "weight", rest.shape) - _head_size(layer.name, "weight", layer.shape)
    heads += _head_size(layer.name, "bias", bias[0]) - _head_size(layer.name, "bias", bias[1])
    heads += _layer_node_of(rest) - _layer_node_of(layer)
    return replace(cost, bytes=cost.bytes + heads)


def _head_size(layer: str, part: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor of floats takes besides them."""
    return tensor_size(f"{layer}.{part}", shape, _FLOAT * prod(shape)) - _FLOAT * prod(shape)


def _layer_node_of(layer: Layer) -> int:
    """Bytes of the layer's own node."""
    bias = [f"{layer.name}.bias"] if layer.has_bias else []
    return _layer_node(layer.name, layer.reads or _INPUT, bias, layer.name, layer.shape, layer.window, layer.groups)


def _unchanged(layer: Layer, *notes: str) -> LayerCost:
    return LayerCost(layer.bytes, layer.parameters, layer.parameters, layer.macs, notes)


def _stored_shapes(layer: Layer, factors: Factorization | None) -> dict[str, tuple[int, ...]]:
    """Shapes of the stored weights by name: the weight itself or its factors."""
    if factors is None:
        return {f"{layer.name}.weight": layer.shape}
    shapes = factors.shapes(layer.shape)
    return {f"{layer.name}.{part}.weight": shape for part, shape in zip(PARTS, shapes, strict=False)}


def _macs(layer: Layer, factors: Factorization) -> int:
    """Factors before the one that moves along an axis work at every place of the input there."""
    uses = Fraction(layer.macs, prod(layer.shape))
    total = Fraction(0)
    for i, shape in enumerate(factors.shapes(layer.shape)):
        wider = [Fraction(a.size, a.places) for k, a in enumerate(layer.window) if i < carrier(factors.form, k)]
        total += uses * prod(shape) * prod(wider, start=Fraction(1))
    return int(total)


def _zeros(shapes: Iterable[tuple[int, ...]], settings: LayerSettings) -> int:
    if settings.prune is None:
        return 0
    return sum(settings.prune.zeros(shape[0], prod(shape[1:])) for shape in shapes)


def _has_own_bias(layer: Layer) -> bool:
    """Whether the layer's node takes the bias: a product over several positions leaves it to a sum behind it."""
    return layer.has_bias and (len(layer.shape) > 2 or layer.macs <= prod(layer.shape))


def _integer_bias_added(layer: Layer) -> int:
    """Bytes that a bias of 32-bit integers takes more than one of floats, as `studio.export.onnx_weights` writes it."""
    out, name = layer.shape[0], f"{layer.name}.bias"
    parts = [f"{name}_{part}" for part in ("quantized", "scale", "zero_point")]
    size = sum(tensor_size(part, (out,), _FLOAT * out) for part in parts)
    size += node_size(f"{name}_dequantize", "DequantizeLinear", parts, name, {"axis": 0})
    return size - tensor_size(name, (out,), _FLOAT * out)


def _guarded_bias_added(layer: Layer) -> int:
    """Bytes that a bias as `studio.export.onnx_weights.guard_bias` writes it takes more than the layer's own."""
    out, name = layer.shape[0], f"{layer.name}.bias"
    if len(layer.shape) == 2 and not _has_own_bias(layer):
        return 0
    parts = [f"{name}_{part}" for part in ("quantized", "scale")]
    size = sum(tensor_size(part, (out,), _FLOAT * out) for part in parts)
    size += node_size(f"{name}_dequantize", "DequantizeLinear", parts, name, {"axis": 0})
    return size + (-tensor_size(name, (out,), _FLOAT * out) if layer.has_bias else field_size(len(name.encode())))


def _sites_size(info: ModelInfo, sites: Iterable[int]) -> int:
    """Bytes of the levels of rounded activations, as `studio.export.onnx_weights` writes them."""
    name, size = "levels_0000", 0
    levels = (f"{name}.scale", f"{name}.zero_point")
    pair = tensor_size(levels[0], (), _FLOAT) + tensor_size(levels[1], (), 1)
    for site in (info.sites[number] for number in sites):
        rounded = f"{name}.rounded" if site.input else f"{name}.exact"
        quantize = node_size(
            f"{name}.quantize", "QuantizeLinear", (site.input or rounded, *levels), f"{name}.quantized", {}
        )
        moved = node_size(f"{name}.quantize", "QuantizeLinear", (f"{name}.exact", *levels), f"{name}.quantized", {})
        dequantize = node_size(f"{name}.dequantize", "DequantizeLinear", (f"{name}.quantized", *levels), rounded, {})
        behind = node_size(
            f"{name}.dequantize", "DequantizeLinear", (f"{name}.quantized", *levels), f"{name}.exact", {}
        )
        size += pair + quantize + dequantize + (site.places - 1) * (pair + moved + behind)
        size += site.readers * (len(rounded) - len(site.input.encode())) if site.input else 0
    return size


def _nodes_added(layer: Layer, factors: Factorization) -> int:
    """Bytes that the nodes of the factors take more than the one node of the layer."""
    name, bias = layer.name, [f"{layer.name}.bias"] if layer.has_bias else []
    shapes = factors.shapes(layer.shape)
    parts = [f"{name}.{part}" for part in PARTS[: len(shapes)]]
    size, given = 0, layer.reads or _INPUT
    for i, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        last = i == len(parts) - 1
        mine = [axis if carrier(factors.form, k) == i else None for k, axis in enumerate(layer.window)]
        size += _layer_node(part, given, bias if last else [], name if last else part, shape, mine)
        given = part
    return size - _layer_node_of(layer)


def _layer_node(
    name: str,
    given: str,
    bias: Sequence[str],
    output: str,
    shape: Sequence[int],
    window: Sequence[Axis | None],
    groups: int = 1,
) -> int:
    """Bytes of the node of a layer or factor; None stands for an axis along which it does not move."""
    inputs = (given, f"{name}.weight", *bias)
    if len(shape) == 2:
        return node_size(name, "Gemm" if bias else "MatMul", inputs, output, {"transB": 1} if bias else {})
    moved = [axis or Axis(1, 1) for axis in window]
    attributes: dict[str, int | Sequence[int]] = {"kernel_shape": shape[2:]} | ({"group": groups} if groups > 1 else {})
    for attribute, values, default in (
        ("strides", [axis.stride for axis in moved], 1),
        ("dilations", [axis.dilation for axis in moved], 1),
        ("pads", [axis.padding for axis in moved] * 2, 0),
    ):
        if any(value != default for value in values):
            attributes[attribute] = values
    return node_size(name, "Conv", inputs, output, attributes)


def _notes(
    layer: Layer, settings: LayerSettings, factors: Factorization | None, size: int, zeros: int
) -> Iterator[str]:
    if settings.prune:
        yield from _pruning_notes(settings.prune, zeros, layer.matrix_shape[1] if factors is None else 0)
    larger = factors is not None and factors.weights(layer.shape) >= prod(layer.shape)
    if factors is not None and larger:
        rank = factors.ranks[0]
        yield f"rank {rank} is above break-even {layer.break_even_rank:.1f}: the factors are no smaller than the layer"
    if settings.quantize:
        if settings.quantize.weight_bits == 16:
            yield "runtimes widen 16-bit weights to 32 bits when they load the file: only the file shrinks"
        elif settings.quantize.product_of(layer.shape) != "portable":
            yield from _product_notes(settings.quantize)
        elif not runs_in_integers(settings):
            yield from form_notes(layer, settings.quantize)
            yield "integers are turned back into floats to compute: the file shrinks, the arithmetic does not"
        if settings.quantize.product != "portable" and settings.quantize.product_of(layer.shape) == "portable":
            yield "MatMulNBits takes linear layers with groups of 16 to 256, of 8 bits with int8 inputs: not this one"
        if settings.quantize.activation_bits and not runs_in_integers(settings):
            yield "only whole layers with symmetric 8-bit weights without groups run in integers"
        bits = settings.quantize.weight_bits
        if bits != CONTAINER_BITS[bits]:
            yield f"{bits}-bit weights take 4 bits each, the fewest that files hold: no smaller than 4 bits"
        columns = layer.matrix_shape[1]
        if settings.quantize.grouped and factors is None and settings.quantize.group_size >= columns:
            yield f"a row holds only {columns} weights: one group is the whole row, as with channels"
    if size > layer.bytes and not larger:
        yield "the layer is so small that names and scales take more bytes than its weights save"


def _product_notes(settings: QuantizeSettings) -> Iterator[str]:
    bits = CONTAINER_BITS[settings.weight_bits]
    yield f"ONNX Runtime alone runs this form; it reads the weights in {bits} bits, in memory too"
    if settings.product == "onnxruntime_int8":
        yield f"it rounds the layer's inputs to 8 bits, every {settings.group_size} with one scale, as the preview does"


def _pruning_notes(prune: PruneSettings, zeros: int, columns: int) -> Iterator[str]:
    yield "zeros are stored and multiplied: neither the file nor the arithmetic shrinks"
    if prune.kind == "n_m" and zeros:
        yield f"runtimes on a CPU make no use of {prune.n}:{prune.m} zeros; some accelerators do, with 2:4"
    elif prune.kind == "n_m":
        yield f"no row holds more than {prune.n} weights: {prune.n}:{prune.m} leaves all of them"
    rest = columns % prune.m
    if prune.kind == "n_m" and zeros and rest:
        kept = min(prune.n, rest)
        yield f"the last group of a row's {columns} weights holds only {rest}, of which {kept} stay"
