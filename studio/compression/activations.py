"""Activations rounded to 8 bits: where a graph is rounded, a module stands that knows its levels."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn

import studio.compression.ops  # noqa: F401 (registers the op)
from studio.analysis.calibration import Batch
from studio.compression.modules import CompressedConv, CompressedLinear
from studio.compression.ranges import Levels, RangeMethod, find_levels
from studio.compression.sites import Sites, find_sites, source_of
from studio.compression.stored import IntegerWeight

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


@torch.no_grad()
def quantize_activations(
    graph: fx.GraphModule, methods: Mapping[str, RangeMethod], batches: Sequence[Batch]
) -> fx.GraphModule:
    """A copy of `graph` in which the inputs and outputs of some layers are rounded.

    Args:
        graph: its layers compressed already.
        methods: by path of layer, how the ranges of its input and its output are chosen; where layers share a site,
            the first of them decides.
        batches: calibration samples.
    """
    sites = find_sites(graph, methods)
    levels, biases = _Walk(graph, sites, methods).run(batches)
    return _with_modules(graph, sites, levels, biases)


class _Walk:
    """Runs the graph node by node with all batches, choosing the levels of each site from what reaches it rounded."""

    def __init__(self, graph: fx.GraphModule, sites: Sites, methods: Mapping[str, RangeMethod]) -> None:
        self._graph, self._sites = graph, sites
        self._interpreter = fx.Interpreter(graph)
        self._methods = dict(_method_by_site(graph, sites, methods))
        self._layers = methods
        self._levels = dict[fx.Node, Levels]()
        self._replaced = dict[str, nn.Module]()

    def run(self, batches: Sequence[Batch]) -> tuple[dict[fx.Node, Levels], dict[str, nn.Module]]:
        """Levels by site, and layers whose biases are rounded by path."""
        feeds = iter([[batch[i] for batch in batches] for i in range(len(batches[0]))])
        values = dict[fx.Node, list[Tensor]]()
        for node in self._graph.graph.nodes:
            given = next(feeds) if node.op == "placeholder" else self._execute(node, values, len(batches))
            if node in self._sites.sources:
                self._levels[node] = find_levels(torch.cat([x.flatten() for x in given]), self._methods[node])
                rounding = RoundedActivation(self._levels[node])
                given = [rounding(x) for x in given]
            values[node] = given
            for used in self._interpreter.user_to_last_uses.get(node, []):
                del values[used]
        return self._levels, self._replaced

    def _execute(self, node: fx.Node, values: Mapping[fx.Node, list[Tensor]], count: int) -> list[Tensor]:
        if node.op == "call_module" and node.target in self._layers:
            name = str(node.target)
            levels = self._levels[source_of(node.all_input_nodes[0])]
            layer = with_rounded_bias(self._graph.get_submodule(name), levels.scale)
            self._replaced[name] = layer
            return [layer(x) for x in values[node.all_input_nodes[0]]]
        results = []
        for i in range(count):
            one = {n: values[n][i] for n in node.all_input_nodes}
            args, kwargs = (fx.map_arg(given, one.__getitem__) for given in (node.args, node.kwargs))
            results.append(getattr(self._interpreter, node.op)(node.target, args, kwargs))
        return results


def with_rounded_bias(layer: nn.Module, input_scale: float) -> nn.Module:
    """The layer with its bias at a whole multiple of the product of its input's and its weight's scale."""
    if not isinstance(layer, (CompressedConv, CompressedLinear)) or layer.bias is None:
        return layer
    stored = layer.stored
    if not isinstance(stored, IntegerWeight):
        return layer
    step = torch.tensor(input_scale, dtype=torch.float32) * stored.scale
    rounded = copy.copy(layer)
    rounded._parameters = {**layer._parameters, "bias": nn.Parameter((layer.bias / step).round() * step, False)}
    return rounded


def _method_by_site(
    graph: fx.GraphModule, sites: Sites, methods: Mapping[str, RangeMethod]
) -> dict[fx.Node, RangeMethod]:
    """How each site's range is chosen: as the first layer that reads or gives it says, sums as the first layer."""
    chosen = dict.fromkeys(sites.sources, next(iter(methods.values())))
    for node in reversed(graph.graph.nodes):
        if node.op == "call_module" and node.target in methods:
            chosen[source_of(node.all_input_nodes[0])] = methods[str(node.target)]
    return chosen


def _with_modules(
    graph: fx.GraphModule, sites: Sites, levels: Mapping[fx.Node, Levels], layers: Mapping[str, nn.Module]
) -> fx.GraphModule:
    copied, made = fx.Graph(), dict[fx.Node, fx.Node]()
    modules = {source: RoundedActivation(found) for source, found in levels.items()}
    for node in graph.graph.nodes:
        made[node] = copied.node_copy(node, made.__getitem__)
        source = node if node in levels else sites.carried.get(node)
        if source is not None:
            made[node] = copied.call_module(f"{FOLDER}.{source.name}", (made[node],))
    root = copy.copy(graph)
    root.add_submodule(FOLDER, nn.Module())
    for source, module in modules.items():
        root.add_submodule(f"{FOLDER}.{source.name}", module)
    for name, layer in layers.items():
        root.set_submodule(name, layer)
    return fx.GraphModule(root, copied).eval()
