"""Running a graph node by node with all samples, for what has to stop on the way: fits and ranges."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from studio.analysis.calibration import Batch

#: Bytes that the activations may take at once; more samples than fit are left out.
MEMORY = 2 * 2**30


def execute(
    interpreter: fx.Interpreter, node: fx.Node, arguments: tuple[Any, ...], values: Mapping[fx.Node, Any]
) -> Any:
    """What `node` gives with these `arguments`, in which nodes stand for their `values`."""
    args, kwargs = (fx.map_arg(given, values.__getitem__) for given in (arguments, node.kwargs))
    return getattr(interpreter, node.op)(node.target, args, kwargs)


def within_memory(graph: fx.GraphModule, batches: Sequence[Batch], copies: int) -> Sequence[Batch]:
    """As many of the batches as `copies` of the graph's values may take at once in `MEMORY`, at least one."""
    peak = _Peak(graph)
    peak.run(*batches[0])
    return batches[: max(1, MEMORY // (copies * peak.bytes))]


class _Peak(fx.Interpreter):
    """Runs a graph and notes the most bytes that its values take at once."""

    bytes = 1

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        live = [value for value in (*self.env.values(), result) if isinstance(value, Tensor)]
        self.bytes = max(self.bytes, sum(tensor.nbytes for tensor in live))
        return result
