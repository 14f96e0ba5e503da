"""Running a graph again after an edit: values that the edit does not touch are taken from an earlier run.

Every value has a version (`studio.evaluation.versions`). After a run, some values are kept with theirs; the next run
starts at the output, goes back from there to values whose versions are kept, and computes only what lies between.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, fx

from studio.compression.walk import execute
from studio.evaluation.arrays import Array
from studio.evaluation.cuts import Cost, choose_cuts
from studio.evaluation.kept import Kept, bytes_of, tensors_in
from studio.evaluation.predict import device_of, first_output, torch_predict
from studio.evaluation.versions import Versions

#: Share of the bytes left that one more batch may take: the batches that come first, and so are measured most often,
#: get the most, and there is always something left for another.
SHARE = 0.25

#: Share of a batch's room that stays taken when the first run of all, which has to keep whatever comes, runs out of it.
THINNED = 0.75

#: Kinds of nodes whose values are there anyway.
GIVEN = ("placeholder", "get_attr")


class Replay:
    """A graph's values on one set of samples, kept for graphs that differ from it little.

    Graphs that write to values in place are run in full: what such a node was given cannot be kept.

    Args:
        graph: the graph that others are variants of. Neither it nor its modules may change.
        budget: bytes of values that may be kept.
        follow: keep the values of the graph that ran last, for edits that follow one another, rather than those of
            `graph`, for variants each of which differs from `graph` itself.
        clock: seconds, by which the cost of each node is measured once.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        budget: int,
        follow: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._graph = graph  # as long as its modules live, its values keep their versions
        self._budget = budget
        self._follow = follow
        self._versions = Versions()
        self._lasting = frozenset(self._versions.of(graph).values())
        self._costs: dict[str, Cost] = {}  # of one sample
        self._batches: dict[bytes, Kept] = {}
        self._in_place = False
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """Bytes of the values that are kept now."""
        return sum(batch.bytes for batch in self._batches.values())

    def predict(self, changed: fx.GraphModule) -> "Replayed":
        """What gives the outputs of `changed`, a graph in eval mode, bit for bit as running all of it does."""
        return Replayed(self, changed, self._versions.of(changed))

    @torch.no_grad()
    def outputs(self, replayed: "Replayed", indices: Array, inputs: tuple[Tensor, ...]) -> Tensor:
        """See `Replayed.outputs`."""
        with self._lock:
            if not self._in_place:
                try:
                    return self._run(replayed, self._batch(indices), inputs)
                except _WrittenInPlaceError:
                    self._in_place = True
                    self._batches.clear()
        return torch_predict(replayed.graph)(inputs)

    def _batch(self, indices: Array) -> Kept:
        """What is kept for these samples, with room for as much as they are allowed."""
        key, count = indices.tobytes(), len(indices)
        if key not in self._batches:
            left = self._budget - sum(batch.allowance for batch in self._batches.values())
            self._batches[key] = Kept(int(SHARE * left), count)
            if self._costs:
                self._batches[key].choose(self._costs)
        return self._batches[key]

    def _run(self, replayed: "Replayed", batch: Kept, inputs: tuple[Tensor, ...]) -> Tensor:
        """Computes what is not kept.

        Raises:
            _WrittenInPlaceError: a node changed what it was given.
        """
        versions = replayed.versions
        lasting: Collection[str] = self._lasting
        if self._follow:
            lasting = set(versions.values())
            batch.retain(lasting)
        learning = not self._costs
        if learning:  # possible only where nothing is left out
            batch.retain(())
        costs, output = dict[str, Cost](), None
        began = self._clock()
        for node, output in _computed(replayed, batch.values, inputs):
            costs[node.name] = _cost(node, self._clock() - began, output, len(inputs[0]))
            if versions[node] in lasting and node.op not in (*GIVEN, "output"):
                if learning and not batch.has_room(output):
                    batch.retain(_named(versions, choose_cuts(costs, THINNED * batch.allowance / batch.samples)))
                batch.offer(node.name, versions[node], output)
            began = self._clock()
        if learning:
            self._costs = costs
            batch.retain(_named(versions, batch.choose(costs)))
        return first_output(output).to("cpu")


@dataclass(frozen=True, eq=False)
class Replayed:
    """A variant of a `Replay`'s graph: see `Replay.predict`.

    Attributes:
        replay: where values are kept.
        graph: the variant.
        versions: of its values.
    """

    replay: Replay
    graph: fx.GraphModule
    versions: Mapping[fx.Node, str]

    def outputs(self, indices: Array, inputs: tuple[Tensor, ...]) -> Tensor:
        """The graph's outputs ``[batch, …]`` on the CPU for the samples at `indices`, whose inputs are `inputs`."""
        return self.replay.outputs(self, indices, inputs)


class _WrittenInPlaceError(Exception):
    """A node changed a value it was given."""


def _computed(replayed: Replayed, kept: Mapping[str, Any], inputs: tuple[Tensor, ...]) -> Iterator[tuple[fx.Node, Any]]:
    """Runs the nodes that the output needs beyond `kept`, which may grow meanwhile; gives each with its value."""
    graph, versions = replayed.graph, replayed.versions
    wanted = _wanted(graph, versions, kept)
    last_use = {given: node for node in wanted for given in node.all_input_nodes}
    feeds = dict(zip((node for node in versions if node.op == "placeholder"), inputs, strict=True))
    interpreter, device, values = fx.Interpreter(graph), device_of(graph), dict[fx.Node, Any]()
    for node in wanted:
        if node.op == "placeholder":
            values[node] = feeds[node].to(device, copy=True)  # what is written in place must not reach the caller's
        else:
            given = {n: values[n] if n in values else kept[versions[n]] for n in node.all_input_nodes}
            written = _writes(given)
            values[node] = execute(interpreter, node, node.args, given)
            if _writes(given) != written:
                raise _WrittenInPlaceError
        yield node, values[node]
        for used in node.all_input_nodes:
            if last_use[used] is node:
                values.pop(used, None)


def _wanted(graph: fx.GraphModule, versions: Mapping[fx.Node, str], kept: Collection[str]) -> list[fx.Node]:
    """The nodes to run, in order: those that the output depends on, back to kept values.

    Nodes whose value nobody uses run too: they may be there to write in place.
    """
    found, stack = set[fx.Node](), [node for node in versions if not node.users and node.op not in GIVEN]
    while stack:
        node = stack.pop()
        if node not in found and versions[node] not in kept:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return [node for node in graph.graph.nodes if node in found]


def _named(versions: Mapping[fx.Node, str], names: Collection[str]) -> set[str]:
    """The versions of the nodes of these names."""
    return {version for node, version in versions.items() if node.name in names}


def _cost(node: fx.Node, seconds: float, value: Any, samples: int) -> Cost:
    """What a node's value costs for one sample; inputs and constants are there anyway."""
    free = node.op in (*GIVEN, "output")
    parents = tuple(given.name for given in node.all_input_nodes)
    return Cost(0.0 if free else seconds / samples, bytes_of(value) / samples, parents)


def _writes(values: Mapping[fx.Node, Any]) -> list[int]:
    """How often each tensor in `values` was written to, as torch counts it."""
    return [x._version for value in values.values() for x in tensors_in(value) if not x.is_inference()]
