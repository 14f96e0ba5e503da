"""Activations rounded to 8 bits: where a graph is rounded, a module stands that knows its levels."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

import studio.compression.ops  # noqa: F401 (registers the op)
from studio.analysis.calibration import Batch
from studio.compression.compressed import with_layers
from studio.compression.modules import CompressedConv, CompressedLinear
from studio.compression.ranges import LEVELS, Levels, RangeMethod, find_levels
from studio.compression.stored import LEAST_STEP, IntegerWeight
from studio.compression.walk import execute
from studio.errors import CompressionError
from studio.models.sites import Sites
from studio.progress import Progress, Report
from studio.recipe.rounding import rounded_sites

#: Path under which the modules stand in the graph.
FOLDER = "activation_levels"


class RoundedActivation(nn.Module):
    """Puts a tensor on its levels."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(levels.scale, dtype=torch.float32))
        self.register_buffer("zero_point", torch.tensor(levels.zero_point, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """The nearest levels, of the shape of `x`."""
        rounded: Tensor = torch.ops.studio.quantize_dequantize(x, self.scale, self.zero_point)
        return rounded


class LearnedActivation(RoundedActivation):
    """Puts a tensor on levels whose distance trains; the level of zero stays.

    As `studio.compression.stored.LearnedStepWeight`, for activations (S. Esser et al., arXiv 1902.08153).
    """

    def __init__(self, start: RoundedActivation) -> None:
        super().__init__(Levels(float(start.scale), int(start.zero_point)))
        self.ratio = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """The nearest levels, with gradients for what lies inside the range and for the levels' distance."""
        x = x.float()  # layers around it may multiply in 16 bits
        damping = (x[0].numel() * LEVELS) ** -0.5
        ratio = self.ratio * damping + (self.ratio * (1 - damping)).detach()
        scale, shift = self.scale * ratio.clamp_min(LEAST_STEP), self.zero_point.float()
        level = (x / scale).clamp(-shift, LEVELS - shift)
        rounded: Tensor = (level + (level.round() - level).detach()) * scale
        return rounded

    @torch.no_grad()
    def frozen(self) -> RoundedActivation:
        """The levels of now."""
        return RoundedActivation(Levels(float(self.scale * self.ratio.clamp_min(LEAST_STEP)), int(self.zero_point)))


def range_methods(sites: Sites, methods: Mapping[str, RangeMethod]) -> dict[int, RangeMethod]:
    """How the range of every rounded site is chosen, by its number; arguments as those of `find_all_levels`."""
    chosen = dict.fromkeys(rounded_sites(sites.operators, methods), next(iter(methods.values())))
    for one in reversed(sites.operators):
        if one.layer is not None and one.layer in methods:
            chosen[one.inputs[0]] = methods[one.layer]
    return chosen


def site_numbers(sites: Sites) -> dict[str, int]:
    """The number of the site that a node gives or hands on, by the node's name."""
    moved = {node.name: number for node, number in sites.moves.items()}
    return {node.name: number for number, node in enumerate(sites.nodes)} | moved


@torch.no_grad()
def find_all_levels(
    graph: fx.GraphModule,
    sites: Sites,
    methods: Mapping[str, RangeMethod],
    batches: Sequence[Batch],
    report: Report,
) -> dict[int, Levels]:
    """Levels of every site that is rounded, by its number, each chosen from what reaches it rounded.

    Args:
        graph: the compressed model.
        sites: of the original.
        methods: by path of layer, how the ranges of its input and its output are chosen; where layers share a site,
            the first that reads it decides, and of a sum the first layer of all.
        batches: calibration samples; all values that are needed still are held at once.
        report: told of every site; raising `Cancelled` from it stops the work.

    Raises:
        CompressionError: values are not finite.
    """
    chosen = range_methods(sites, methods)
    numbers = {node.name: number for number, node in enumerate(sites.nodes) if number in chosen}
    interpreter, levels = fx.Interpreter(graph), dict[int, Levels]()
    feeds = iter([[batch[i] for batch in batches] for i in range(len(batches[0]))])
    values = dict[fx.Node, list[Any]]()
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            given = next(feeds)
        else:
            lanes = [{n: values[n][i] for n in node.all_input_nodes} for i in range(len(batches))]
            given = [execute(interpreter, node, node.args, lane) for lane in lanes]
        number = numbers.get(node.name)
        if number is not None:
            report(Progress(len(levels), len(chosen), f"Choosing the levels of {node.name}"))
            flat = torch.cat([x.flatten() for x in given])
            if not flat.isfinite().all():
                raise CompressionError(f"{node.name}: its values on the data are not finite: leave activations alone.")
            levels[number] = find_levels(flat, chosen[number])
            given = [RoundedActivation(levels[number])(x) for x in given]
        values[node] = given
        for used in interpreter.user_to_last_uses.get(node, []):
            del values[used]
    return levels


def with_levels(
    graph: fx.GraphModule, sites: Sites, levels: Mapping[int, Levels], integer: Collection[str]
) -> fx.GraphModule:
    """A copy of `graph` in which the sites that have levels are rounded.

    Args:
        graph: the compressed model.
        sites: of the original.
        levels: by number of site.
        integer: paths of the layers that run in integers.
    """
    numbers = site_numbers(sites)
    copied, made = fx.Graph(), dict[fx.Node, fx.Node]()
    root = copy.copy(graph)
    root.add_submodule(FOLDER, nn.Module())
    for node in graph.graph.nodes:
        made[node] = copied.node_copy(node, made.__getitem__)
        number = numbers.get(node.name)
        if number is not None and number in levels:
            path = f"{FOLDER}.{node.name}"
            root.add_submodule(path, RoundedActivation(levels[number]))
            made[node] = copied.call_module(path, (made[node],))
    return with_rounded_biases(fx.GraphModule(root, copied).eval(), integer)


def with_rounded_biases(graph: fx.GraphModule, integer: Collection[str]) -> fx.GraphModule:
    """A graph whose biases stand on the grid of their layers' products, as 32-bit integers are.

    A product's step is that of the layer's input times that of its weight. Besides the layers at the paths `integer`
    this holds for every convolution of rounded inputs with symmetric integer weights without groups: ONNX Runtime
    rounds its bias on its own.
    """
    return with_layers(graph, dict(_rounded_biases(graph, integer)))


@torch.no_grad()
def _rounded_biases(graph: fx.GraphModule, integer: Collection[str]) -> Iterator[tuple[str, nn.Module]]:
    for node in graph.graph.nodes:
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not (isinstance(layer, CompressedConv) or (isinstance(layer, CompressedLinear) and node.target in integer)):
            continue
        given = node.all_input_nodes[0]
        rounding = graph.get_submodule(str(given.target)) if given.op == "call_module" else None
        if layer.bias is None or not isinstance(rounding, RoundedActivation):
            continue
        if isinstance(layer.stored, IntegerWeight) and layer.stored.symmetric and not layer.stored.block_size:
            step = rounding.scale * layer.stored.scale.flatten()
            rounded = copy.copy(layer)
            bias = nn.Parameter((layer.bias / step).round() * step, requires_grad=False)
            rounded._parameters = {**layer._parameters, "bias": bias}
            yield str(node.target), rounded
