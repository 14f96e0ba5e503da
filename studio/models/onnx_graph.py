"""The workbench of the ONNX importer: the values of the file's graph and the fx graph that grows from them.

What an operator means stands in `onnx_operators`, `onnx_layers` and `onnx_sizes`; names in `onnx_names`. Here is how
their results are put together: whatever depends on constants alone is computed at once, sizes stay Python numbers,
the rest becomes fx nodes.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from studio.models import shape_math
from studio.models.onnx_names import constant_path, generated
from studio.models.onnx_nodes import Operator, ValueType
from studio.models.tree import ModuleTree, finished

#: A tensor constant, or an fx node that gives a tensor or sizes; None for an input that is left out.
Value = torch.Tensor | fx.Node | None


Handler = Callable[["Workbench", Operator], Any]


class Table:
    """Handlers by operator type, filled by decorating functions with ``@table("Type", …)``."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def __call__(self, *types: str) -> Callable[[Handler], Handler]:
        """Registers the decorated handler for the operator `types`."""

        def register(handler: Handler) -> Handler:
            self.handlers.update(dict.fromkeys(types, handler))
            return handler

        return register


class Workbench:
    """Values by name on one side, the growing fx graph and its module tree on the other.

    Args:
        constants: initializers by name; floating ones float32.
        types: what is known of each value.
        users: for each value, the operators that take it.
        producers: for each value, the operator that makes it.
        opset: version of the ``ai.onnx`` operators.
    """

    def __init__(
        self,
        constants: Mapping[str, torch.Tensor],
        types: Mapping[str, ValueType],
        users: Mapping[str, Sequence[Operator]],
        producers: Mapping[str, Operator],
        opset: int,
    ) -> None:
        self.values: dict[str, Value] = dict(constants)
        self.sizes: set[fx.Node] = set()  # nodes that give Python numbers
        self.opset = opset
        self.graph = fx.Graph()
        self.tree = ModuleTree()
        self._initializers = frozenset(constants)
        self._types = types
        self._users = users
        self._producers = producers
        self._parameters: dict[str, nn.Parameter] = {}
        self._names = {id(constant): name for name, constant in constants.items()}
        self._reads: dict[str, fx.Node] = {}
        self._layers: dict[tuple[object, ...], str] = {}

    # What the file says

    def set(self, name: str, value: Value) -> None:
        """Notes the value called `name`."""
        self.values[name] = value
        if isinstance(value, torch.Tensor):
            self._names.setdefault(id(value), name)

    def value(self, operator: Operator, index: int) -> Value:
        """The operator's input at `index`, None where it is left out."""
        name = operator.inputs[index] if index < len(operator.inputs) else ""
        return self.values[name] if name else None

    def constant(self, operator: Operator, index: int) -> torch.Tensor | None:
        """The operator's input at `index` if it is a constant."""
        value = self.value(operator, index)
        return value if isinstance(value, torch.Tensor) else None

    def is_computed_zero(self, name: str) -> bool:
        """Whether `name` is zeros that the file computes: exporters write a bias that a layer never had so."""
        value = self.values.get(name)
        return isinstance(value, torch.Tensor) and name not in self._initializers and not value.any()

    def type_of(self, name: str) -> ValueType:
        """What is known of the value called `name`."""
        value = self.values.get(name)
        if isinstance(value, torch.Tensor):
            return ValueType(value.dtype, tuple(value.shape))
        return self._types.get(name, ValueType(None, None))

    def is_used(self, name: str) -> bool:
        """Whether anything reads the value `name`."""
        return bool(name) and bool(self._users.get(name))

    def only_user(self, name: str) -> Operator | None:
        """The operator that alone takes the value `name`."""
        users = self._users.get(name, ())
        return users[0] if len(users) == 1 else None

    def producer(self, name: str) -> Operator | None:
        """The operator that makes the value `name`."""
        return self._producers.get(name)

    def is_size(self, value: Value) -> bool:
        """Whether `value` is a node that gives Python numbers."""
        return isinstance(value, fx.Node) and value in self.sizes

    # Reading an input in the form a handler needs

    def tensor(self, operator: Operator, index: int) -> Any:
        """An input as a tensor, for a function that computes with it; None where it is left out."""
        value = self.value(operator, index)
        if self.is_size(value):
            return self.call(shape_math.to_tensor, value)
        return value

    def numbers(self, operator: Operator, index: int, attribute: str | None = None) -> Any:
        """An input (or, before it was one, an attribute) as Python numbers or a node that gives them.

        Raises:
            ModelFileError: the numbers come out of tensors that depend on the data.
        """
        value = self.value(operator, index)
        if value is None:
            return operator.get(attribute) if attribute is not None else None
        if isinstance(value, torch.Tensor):
            return shape_math.from_tensor(value)
        if value not in self.sizes:
            raise operator.refuse(f"its input '{operator.inputs[index]}' depends on the data")
        return value

    def number(self, value: Any) -> Any:
        """What `numbers` gave as a single number."""
        return self.size(shape_math.as_number, value) if isinstance(value, fx.Node) else shape_math.as_number(value)

    # Building

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Computes `function` at once where its arguments are constant, otherwise adds a node that will."""
        if not _holds_node((args, kwargs)):
            return function(*args, **kwargs)
        return self.graph.call_function(function, self._in_graph(args), self._in_graph(kwargs))

    def parts(self, function: Callable[..., Any], count: int, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The first `count` results of a `function` that gives several."""
        results = self.call(function, *args, **kwargs)
        return tuple(self.call(operator.getitem, results, i) for i in range(count))

    def size(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        """Adds a node that gives Python numbers."""
        node = self.graph.call_function(function, self._in_graph(args))
        self.sizes.add(node)
        return node

    def layer(self, op: Operator, path: str, module: nn.Module, parameters: Mapping[str, str], x: Value) -> fx.Node:
        """Adds a call of `module`, which is made once where the file uses the same layer several times.

        Args:
            op: the operator that the layer was.
            path: where the module shall hang.
            module: built with parameters of the right shape.
            parameters: for each parameter of the module, the name of the constant it came from; used twice, a
                constant becomes one shared parameter.
            x: what goes in.
        """
        key = (path, module.extra_repr(), type(module), *parameters.items())
        if key not in self._layers:
            for name, source in parameters.items():
                setattr(module, name, self._shared(source, getattr(module, name)))
            self._layers[key] = self.tree.place(path, module)
        node = self.graph.call_module(self._layers[key], (self._in_graph(x),))
        shape = self.type_of(op.outputs[0]).shape
        node.meta["rank"] = len(shape) if shape is not None else None
        return node

    def output(self, names: Sequence[str]) -> fx.GraphModule:
        """Ends the graph with the values called `names` and returns it."""
        results = tuple(self._in_graph(self._tensor_value(name)) for name in names)
        self.graph.output(results[0] if len(results) == 1 else results)
        return finished(self.tree.root, self.graph)

    def _tensor_value(self, name: str) -> Value:
        value = self.values[name]
        return self.call(shape_math.to_tensor, value) if self.is_size(value) else value

    def _shared(self, source: str, parameter: nn.Parameter) -> nn.Parameter:
        return self._parameters.setdefault(source, parameter)

    def _in_graph(self, value: Any) -> Any:
        """`value` with every tensor constant in it replaced by a node that reads it from the tree."""
        if isinstance(value, torch.Tensor):
            return self._read(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._in_graph(item) for item in value)
        if isinstance(value, dict):
            return {key: self._in_graph(item) for key, item in value.items()}
        return value

    def _read(self, constant: torch.Tensor) -> fx.Node:
        name = self._names.get(id(constant))
        if name is None:
            return self.graph.get_attr(self.tree.place("constant", constant))
        if name not in self._reads:
            trainable = name in self._initializers and not generated(name) and _is_weight(constant)
            leaf = self._shared(name, nn.Parameter(constant.clone())) if trainable else constant
            self._reads[name] = self.graph.get_attr(self.tree.place(constant_path(name), leaf))
        return self._reads[name]


def _is_weight(constant: torch.Tensor) -> bool:
    """Whether a constant looks trained: floating, more than a scalar, finite."""
    return constant.is_floating_point() and constant.numel() > 1 and bool(constant.isfinite().all())


def _holds_node(value: Any) -> bool:
    if isinstance(value, fx.Node):
        return True
    if isinstance(value, dict):
        return any(_holds_node(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_holds_node(item) for item in value)
