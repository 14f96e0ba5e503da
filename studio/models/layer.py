"""What the studio knows of an opened model, as plain values: no torch, so that the window can hold them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path

from studio.errors import ModelFileError

#: The verdict of a method that can be applied to a layer; anything else is the reason why not, in words.
OK = "ok"

#: Techniques a layer is judged for, in the order of the recipe.
METHODS = ("prune", "channels", "n_m", "rank", "quantize", "activations")

#: What can be done with a whole model: measuring on data, fitting to it, scanning layer by layer, training, timing.
ABILITIES = ("measure", "fit", "scan", "train", "time")


@dataclass(frozen=True)
class Share:
    """Channels of a layer that are coupled to other layers'.

    Attributes:
        group: name of the `ChannelGroup` they belong to.
        block: number of their block within the group; channels of one block occur in the same layers.
        size: channels of the block.
        times: how often each of them occurs here, such as ``h·w`` times in a linear layer behind a flattening.
    """

    group: str
    block: int
    size: int
    times: int


@dataclass(frozen=True)
class ChannelGroup:
    """Layers that lose the same output channels.

    Attributes:
        name: of its first layer.
        blocks: number of channels of each block; all blocks lose the same share. Only layers that have more channels
            than a shortcut brings along make a group of several.
        members: layers whose outputs they are.
        consumers: layers whose inputs they are.
    """

    name: str
    blocks: tuple[int, ...]
    members: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True)
class Axis:
    """How a convolution moves along one axis.

    Attributes:
        size: of the input.
        places: where the kernel is put: the size of the output.
        stride: step from place to place.
        padding: zeros in front of the input.
        dilation: step from weight to weight.
    """

    size: int
    places: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


@dataclass(frozen=True)
class GraphReader:
    """The one node of an ONNX graph that reads a layer's weight.

    Attributes:
        kind: ``Conv``, ``Gemm`` or ``MatMul``.
        output: name of what it gives.
        bias: name of its bias, empty where that is left out; None where it has no place for one.
        size: bytes of the node.
        attributes: those that factors share among them, by name.
    """

    kind: str
    output: str
    bias: str | None
    size: int
    attributes: tuple[tuple[str, int | str | tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class GraphWeight:
    """How an ONNX graph holds a layer's weight, where settings are applied to the graph itself.

    Attributes:
        stem: beginning of the names of all tensors and nodes that take its place; its own name unless those are taken.
        output: its own name, which nodes go on reading.
        size: bytes of the tensor in the file, its name and what it is wrapped in included.
        turned: whether it stands there as ``[in, out]``.
        opset: version of the operators of ONNX that the file uses.
        owned: whether the file uses operators of ONNX Runtime's own.
        reader: the node that reads it, where factors can be put in its place; None for all others.
    """

    stem: str
    output: str
    size: int
    turned: bool
    opset: int
    owned: bool
    reader: GraphReader | None = None


@dataclass(frozen=True)
class Layer:
    """One layer that holds weights.

    Attributes:
        name: dotted path in the model's file, such as ``layer1.0.conv1``.
        kind: ``conv1d``, ``conv2d``, ``conv3d``, ``conv_transpose1d`` … ``linear`` or ``embedding``.
        shape: weight shape ``[out, in / groups, *kernel]`` (embedding: ``[rows, width]``).
        groups: convolution groups, 1 for all others.
        has_bias: whether a bias of ``out`` values comes with the weight.
        parameters: number of weights and biases.
        bytes: bytes of the weight and bias as the original stores them (float32: 4 each).
        macs: multiply-accumulate operations for one sample.
        methods: for each of `METHODS`, `OK` or the reason in words why it cannot be applied.
        outputs: which of its output channels belong to groups whose channels can be removed.
        inputs: the same of its input channels.
        window: how a convolution moves along each axis of its kernel; empty for all others.
        dtype: type of the weight, such as ``F16``, where the model's file holds weights alone; None in a network.
        held: how the file's graph holds the weight, where settings are applied to that graph; None everywhere else.
        reads: name of what it reads in an exported file, where that is an input of the model or what another layer
            gives; empty for all else.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    groups: int
    has_bias: bool
    parameters: int
    bytes: int
    macs: int
    methods: Mapping[str, str] = field(default_factory=dict, hash=False)
    outputs: tuple[Share, ...] = ()
    inputs: tuple[Share, ...] = ()
    window: tuple[Axis, ...] = ()
    dtype: str | None = None
    held: GraphWeight | None = None
    reads: str = ""

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """The weight as the matrix ``[out, in·k·k]`` that rank, groups and spectra refer to."""
        return self.shape[0], prod(self.shape[1:])

    @property
    def break_even_rank(self) -> float:
        """Rank ``m·n / (m + n)`` at which two factors hold as many weights as the layer itself."""
        rows, columns = self.matrix_shape
        return rows * columns / (rows + columns)

    @property
    def full_rank(self) -> int:
        """The largest rank the weight matrix can have."""
        return min(self.matrix_shape)

    def allows(self, method: str) -> bool:
        """Whether `method` (one of `METHODS`) can be applied to this layer."""
        return self.methods.get(method) == OK

    @cached_property
    def barred(self) -> tuple[str, ...]:
        """Those of `METHODS` that cannot be applied to this layer."""
        return tuple(method for method in METHODS if not self.allows(method))

    @property
    def group(self) -> str | None:
        """Name of the group that its output channels belong to, None where they must stay."""
        return self.outputs[0].group if self.outputs else None


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype (``float32`` …) and shape of a model's input or output; None stands for a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Site:
    """A tensor between operators that can be rounded.

    Attributes:
        places: how many nodes give its values: one that computes them, the others move them about.
        input: name of the model's input that it is, if it is one.
        readers: how many nodes read what the first gives.
    """

    places: int
    input: str | None
    readers: int


@dataclass(frozen=True)
class IntegerOperator:
    """An operator that runs in integers where the sites around it are rounded.

    Attributes:
        layer: its path; None for a sum.
        inputs: numbers of the sites that it reads.
        output: number of the site that it gives; None where it may give floats.
    """

    layer: str | None
    inputs: tuple[int, ...]
    output: int | None


@dataclass(frozen=True)
class ModelInfo:
    """A model as the window sees it.

    Attributes:
        path: the file it came from.
        format: ``onnx``, ``pt2``, ``torchscript`` or ``huggingface``; of a checkpoint ``safetensors`` or
            ``state_dict``.
        fingerprint: SHA-256 of the file's bytes (of a checkpoint: with the skeleton's), hexadecimal; every cache is
            keyed by it. Of weights alone: of the list of tensors, the file's size and its time.
        inputs: what goes in; the first dimension is the batch.
        outputs: what comes out.
        layers: every layer that holds weights, in the order they run.
        parameters: all parameters, the layers' and the others' (norms, positions …).
        bytes: size of the file on disk.
        macs: multiply-accumulate operations of all layers for one sample.
        skeleton: the file that the network came from where `path` holds weights alone.
        sites: tensors that can be rounded to 8 bits.
        operators: what can run in integers between them, in running order.
        lacks: by each of `ABILITIES` that there is not, the reason in words.
        runtime: whether ONNX Runtime runs the network, which the studio cannot build: it can be measured, no more.
    """

    path: str
    format: str
    fingerprint: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    parameters: int
    bytes: int
    macs: int
    skeleton: str | None = None
    sites: tuple[Site, ...] = ()
    operators: tuple[IntegerOperator, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    runtime: bool = False

    @property
    def has_network(self) -> bool:
        """Whether it is known how the layers are connected."""
        return bool(self.inputs)

    @property
    def counts_macs(self) -> bool:
        """Whether it is known how often each weight is used."""
        return self.has_network and not self.runtime

    @property
    def has_graph(self) -> bool:
        """Whether settings are applied to the ONNX graph itself, as the network cannot be built."""
        return any(layer.held is not None for layer in self.layers)

    @property
    def needs_skeleton(self) -> bool:
        """Whether another file can give the network that this one lacks."""
        return not self.has_network and self.format in ("safetensors", "state_dict")

    def require(self, ability: str) -> None:
        """Raises where there is not one of `ABILITIES`.

        Raises:
            ModelFileError: with the reason.
        """
        if ability in self.lacks:
            hint = " (--skeleton FILE)" if self.needs_skeleton else ""
            raise ModelFileError(f"{Path(self.path).name}: {self.lacks[ability]}{hint}.")

    @cached_property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups of channels that can be removed."""
        return channel_groups(self.layers)

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises:
            KeyError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


def channel_groups(layers: Iterable[Layer]) -> tuple[ChannelGroup, ...]:
    """The groups of channels that can be removed from `layers`, in the order of their first layers."""
    members, consumers = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    blocks = defaultdict[str, dict[int, int]](dict)
    for layer in layers:
        for shares, found in ((layer.outputs, members), (layer.inputs, consumers)):
            for group in dict.fromkeys(share.group for share in shares):
                found[group].append(layer.name)
        for share in layer.outputs:
            blocks[share.group][share.block] = share.size
    return tuple(
        ChannelGroup(
            group,
            tuple(blocks[group][block] for block in sorted(blocks[group])),
            tuple(names),
            tuple(consumers[group]),
        )
        for group, names in members.items()
    )
