"""Reading a ``.pt2`` archive into an fx graph of real `torch.nn` layers.

An exported program is a graph of ATen calls that take their weights as arguments. Calls that are layers become
modules again, at the path of their weights; everything else stays as it is.
"""

import io
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import TensorArgument

from studio.errors import ModelFileError, first_line
from studio.models.layer import TensorSpec
from studio.models.pt2_layers import ATTRIBUTES, BUILDERS, TRANSPOSED, arguments
from studio.models.pt2_scan import scan
from studio.models.tree import ModuleTree, finished

_aten = torch.ops.aten

#: Arguments of layers that are data, never weights.
_DATA = ("input", "indices")

#: Calls that only matter in training: what goes in comes out.
_PASSES = (_aten.dropout.default, _aten.feature_dropout.default)

#: Calls that only check the graph or write training's statistics back.
_DROPPED = (
    _aten.copy_.default,
    _aten._assert_scalar.default,
    _aten._assert_tensor_metadata.default,
    _aten.sym_constrain_range_for_size.default,
)

#: Floating types that become float32, the only one the studio computes in.
_FLOATS = (torch.float16, torch.bfloat16, torch.float64)


def import_pt2(content: bytes, _folder: Path) -> tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Checks, loads and lifts the bytes of an archive.

    Returns:
        The graph in eval mode, its inputs and its outputs.

    Raises:
        ModelFileError: the archive is unsafe or damaged, or takes inputs that are not tensors.
    """
    clean = scan(content)
    try:
        program = torch.export.load(io.BytesIO(clean))
    except Exception as error:  # the loader answers a damaged archive with whatever its parts raise
        raise ModelFileError(f"The .pt2 archive is damaged: {first_line(error)[:200]}") from error
    inputs = specs(program, program.graph_signature.input_specs, "USER_INPUT")
    outputs = specs(program, program.graph_signature.output_specs, "USER_OUTPUT")
    return lift(program), inputs, outputs


def lift(program: ExportedProgram) -> fx.GraphModule:
    """Turns an exported program into a graph that takes its inputs and gives its outputs as plain tensors."""
    return _Lift(program.module(check_guards=False)).run()


class _Lift:
    """Copies a graph of ATen calls node by node, layers becoming modules.

    Args:
        source: the program's module; its graph reads weights by ``get_attr``.
    """

    def __init__(self, source: fx.GraphModule) -> None:
        self._source = source
        self._graph = fx.Graph()
        self._tree = ModuleTree()
        self._copies: dict[fx.Node, Any] = {}
        self._weights: dict[int, nn.Parameter | torch.Tensor] = {}
        self._turned: dict[int, nn.Parameter] = {}
        self._layers: dict[tuple[object, ...], str] = {}
        self._reads: dict[str, fx.Node] = {}

    def run(self) -> fx.GraphModule:
        """The lifted graph."""
        for node in self._source.graph.nodes:
            if node.op == "output":
                results = [r for r in fx.node.map_arg(node.args, self._copy_of)[0] if r is not None]
                self._graph.output(results[0] if len(results) == 1 else tuple(results))
            elif node.op != "get_attr" and node.target not in _DROPPED and "guards" not in str(node.target):
                self._copies[node] = self._copy(node)
        return finished(self._tree.root, self._graph)

    def _copy(self, node: fx.Node) -> fx.Node:
        if node.op == "placeholder":
            return self._graph.placeholder(node.name)
        if node.target in _PASSES:
            source: fx.Node = self._copy_of(node.all_input_nodes[0])
            return source
        layer = self._layer(node)
        if layer is not None:
            return layer
        copy = self._graph.node_copy(node, self._copy_of)
        copy.args = fx.node.map_aggregate(copy.args, _single)
        copy.kwargs = fx.node.map_aggregate(copy.kwargs, _single)
        return copy

    def _copy_of(self, node: fx.Node) -> Any:
        """The copy of `node`; of a weight that no layer took, a read of it."""
        if node.op != "get_attr":
            return self._copies[node]
        path = str(node.target)
        if path not in self._reads:
            self._reads[path] = self._graph.get_attr(self._tree.place(path, self._weight(node)))
        return self._reads[path]

    def _layer(self, node: fx.Node) -> fx.Node | None:
        """A call of the module that `node` amounts to, None when it is no layer."""
        builder = BUILDERS.get(node.target)
        if builder is None:
            return None
        values = arguments(node)
        weights = {k: v for k, v in values.items() if isinstance(v, fx.Node) and v.op == "get_attr" and k not in _DATA}
        with torch.device("meta"):
            built = builder({**values, **{name: self._weight(source) for name, source in weights.items()}})
        if built is None:
            return None
        module, x, names = built
        for name in names:
            attribute = ATTRIBUTES.get(name, name)
            if name in TRANSPOSED:
                value: Any = self._transposed(weights[name])
            elif attribute in module._parameters:
                value = self._trainable(weights[name])
            else:
                value = self._weight(weights[name])
            setattr(module, attribute, value)
        path = self._path(node, module, [str(weights[name].target) for name in names])
        call = self._graph.call_module(path, (self._copy_of(x),))
        call.meta["rank"] = node.meta["val"].dim() if "val" in node.meta else None
        return call

    def _path(self, node: fx.Node, module: nn.Module, sources: list[str]) -> str:
        """Where `module` hangs: at the path it was called by or its weights had, once however often it is called."""
        key = (type(module), module.extra_repr(), *sources)
        if key not in self._layers:
            owner = sources[0].rpartition(".")[0]
            caller, kind = _caller(node)
            made_by_it = kind == type(module).__name__  # tied weights carry the name of only one of their owners
            free = owner and owner not in self._layers.values()
            self._layers[key] = self._tree.place(owner if free and not made_by_it else caller, module)
        return self._layers[key]

    def _transposed(self, node: fx.Node) -> nn.Parameter:
        """The weight ``[in, out]`` that `node` reads as ``[out, in]``, one object however many nodes read it."""
        weight = self._weight(node)
        if id(weight) not in self._turned:
            self._turned[id(weight)] = nn.Parameter(weight.detach().T.contiguous())
        return self._turned[id(weight)]

    def _trainable(self, node: fx.Node) -> nn.Parameter:
        """The weight that `node` reads as a parameter; programs that were TorchScript hold weights as constants."""
        value = self._weight(node)
        if not isinstance(value, nn.Parameter):
            source = operator.attrgetter(str(node.target))(self._source)
            value = self._weights[id(source)] = nn.Parameter(value)
        return value

    def _weight(self, node: fx.Node) -> Any:
        """The parameter or constant that `node` reads: float32, and one object however many nodes read it."""
        value: Any = operator.attrgetter(str(node.target))(self._source)
        if id(value) not in self._weights:
            data = value.detach().float() if value.is_floating_point() else value.detach()
            self._weights[id(value)] = nn.Parameter(data) if isinstance(value, nn.Parameter) else data
        return self._weights[id(value)]


def _single(value: Any) -> Any:
    return torch.float32 if isinstance(value, torch.dtype) and value in _FLOATS else value


def _caller(node: fx.Node) -> tuple[str, str]:
    """Path and class name of the module that made this call before the export; else the node's own name."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack", {})
    callers = [(path, str(kind).rpartition(".")[2]) for path, kind in stack.values() if path]
    path, kind = callers[-1] if callers else (node.name, "")
    return path.partition("@")[0], kind  # a module's second call is written as ``path@1``


def specs(program: ExportedProgram, given: Any, kind: str) -> tuple[TensorSpec, ...]:
    """What goes in, or comes out.

    Raises:
        ModelFileError: an input that is no tensor.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    found = []
    for spec in given:
        if spec.kind.name != kind:
            continue
        if not isinstance(spec.arg, TensorArgument):
            if kind == "USER_INPUT" and getattr(spec.arg, "value", None) is not None:
                raise ModelFileError(f"The input '{spec.arg.name}' is not a tensor; only tensors are supported.")
            continue
        found.append(_spec(spec.arg.name, values[spec.arg.name]))
    return tuple(found)


def _spec(name: str, value: torch.Tensor) -> TensorSpec:
    dtype = torch.float32 if value.dtype.is_floating_point else value.dtype
    sizes = tuple(int(size) if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name, str(dtype).removeprefix("torch."), sizes)
