"""How the factors of a weight stand in an ONNX graph that settings are applied to directly, torch-free.

The node that reads the weight stays: it reads the first factor, under the name that the weight had. Nodes of its kind
follow it with the others; the last of them takes its bias and gives what it gave. Each factor takes a form of its own
(`studio.recipe.graph_form`). A convolution's strides, dilations and padding go with the factor that moves along the
axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from studio.models.layer import GraphReader, GraphWeight
from studio.recipe.factorization import PARTS, Factorization, carrier
from studio.recipe.graph_form import ENDINGS, Form, FormNode, FormTensor, form_of
from studio.recipe.protobuf import attribute_size, field_size
from studio.recipe.settings import QuantizeSettings

#: Ending of the name of what a factor but the last gives.
GIVEN = "_given"

#: Ending of the name of the node of a factor but the first.
NODE = "_node"

#: Endings of the names of whatever may take a weight's place.
ALL_ENDINGS = (*ENDINGS, *(f"_{part}{ending}" for part in PARTS for ending in ("", GIVEN, NODE, *ENDINGS)))

#: Attributes with a value for each axis, and what it is for an axis along which a factor does not move.
_STILL = {"strides": 1, "dilations": 1, "pads": 0}

Attributes = dict[str, int | str | Sequence[int]]


@dataclass(frozen=True)
class FactorPart:
    """One factor.

    Attributes:
        held: where it stands.
        shape: ``[out, in, *kernel]``.
        form: its tensors, and the nodes that make floats of them.
    """

    held: GraphWeight
    shape: tuple[int, ...]
    form: Form


def factor_parts(
    held: GraphWeight, shape: tuple[int, ...], dtype: str, quantize: QuantizeSettings | None, factors: Factorization
) -> list[FactorPart]:
    """The factors of a weight in the order they run.

    Args:
        held: how the graph holds the weight.
        shape: of the weight, ``[out, in, *kernel]``.
        dtype: of its floats.
        quantize: how the factors are rounded.
        factors: how it is split.
    """
    return [_part(held, number, part, dtype, quantize) for number, part in enumerate(factors.shapes(shape))]


def _part(
    held: GraphWeight, number: int, shape: tuple[int, ...], dtype: str, quantize: QuantizeSettings | None
) -> FactorPart:
    stem = held.stem + _ending(number)
    mine = held if number == 0 else replace(held, stem=stem, output=stem)
    form = form_of(mine, shape, dtype, quantize)
    there = shape[::-1] if held.turned else shape
    return FactorPart(mine, shape, form if form.nodes else Form((FormTensor(mine.output, dtype, there),)))


def following_nodes(held: GraphWeight, shape: tuple[int, ...], factors: Factorization) -> list[FormNode]:
    """The nodes behind the one that reads the weight, one for each factor but the first."""
    reader, shapes = _reader(held), factors.shapes(shape)
    nodes = list[FormNode]()
    for number in range(1, len(shapes)):
        last = number == len(shapes) - 1
        stem = held.stem + _ending(number)
        inputs = [given_name(held, number - 1), stem, *([reader.bias] if last and reader.bias else [])]
        output = reader.output if last else given_name(held, number)
        moved = moved_attributes(reader, shapes[number], factors, number)
        nodes.append(FormNode(stem + NODE, reader.kind, inputs, output, moved))
    return nodes


def given_name(held: GraphWeight, number: int) -> str:
    """Name of what a factor gives to the next."""
    return f"{held.stem}_{PARTS[number]}{GIVEN}"


def moved_attributes(
    reader: GraphReader, shape: tuple[int, ...], factors: Factorization, number: int
) -> Mapping[str, int | str | Sequence[int]]:
    """Those attributes of the node that reads a weight which depend on the factor, for one of them.

    Args:
        reader: the node.
        shape: of the factor.
        factors: how the weight is split.
        number: of the factor.
    """
    axes = range(len(shape) - 2)
    found = Attributes()
    for name, value in reader.attributes:
        found[name] = value
        if name == "kernel_shape":
            found[name] = shape[2:]
        elif name in _STILL and not isinstance(value, int | str):
            carries = [carrier(factors.form, axis) == number for axis in axes] * (len(value) // max(1, len(axes)))
            found[name] = tuple(one if mine else _STILL[name] for one, mine in zip(value, carries, strict=True))
    return found


def factored_size(
    held: GraphWeight, shape: tuple[int, ...], dtype: str, quantize: QuantizeSettings | None, factors: Factorization
) -> int:
    """Bytes within the graph of all that takes the place of a weight, with what its reader takes more than before."""
    size = sum(part.form.size for part in factor_parts(held, shape, dtype, quantize, factors))
    size += sum(node.size for node in following_nodes(held, shape, factors))
    reader = _reader(held)
    length = reader.size + field_size(len(given_name(held, 0).encode())) - field_size(len(reader.output.encode()))
    length -= 0 if reader.bias is None else field_size(len(reader.bias.encode()))
    before, moved = dict(reader.attributes), moved_attributes(reader, factors.shapes(shape)[0], factors, 0)
    length += sum(attribute_size(name, moved[name]) - attribute_size(name, before[name]) for name in moved)
    return size + field_size(length) - field_size(reader.size)


def _ending(number: int) -> str:
    """Of the names of a factor's own: the first stands where the weight was."""
    return f"_{PARTS[number]}" if number else ""


def _reader(held: GraphWeight) -> GraphReader:
    if held.reader is None:
        raise ValueError(f"no single node reads {held.output}: the layer's verdict forbids factors")
    return held.reader
