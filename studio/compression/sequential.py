"""The sequential fit: every changed layer fitted, in running order, to what the compressed layers before it give.

The original and the compressed model run side by side through the graph, node by node with all samples. At a layer
to be changed, its inputs x̂ are those of the compressed model and its wanted outputs y those of the original, so
that the wanted weight is the least-squares one, ``E[y x̂ᵀ] E[x̂ x̂ᵀ]⁻¹``, and a method then keeps as much of it as
its constraint allows. Where nothing but a sum uses the layer's outputs, y is what brings the sum back:
the last layer of a residual block then makes up for what the blocks before it have lost. One pass does for all layers.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from studio.analysis.calibration import Batch, RunningMoments
from studio.analysis.inputs import HasRows, layer_at
from studio.compression.channels import Cut
from studio.compression.fit import Fit, covariance, plain_fit
from studio.compression.modules import CompressedLayer
from studio.compression.plan import Plan
from studio.compression.recalibrate import recalibrated
from studio.compression.scores import fitted_to_scores, gives_scores
from studio.compression.solver import damped
from studio.compression.walk import execute, within_memory
from studio.models.sites import role
from studio.progress import Progress, Report


def called_once(graph: fx.GraphModule) -> set[str]:
    """Paths of the modules that run exactly once: the others' later inputs depend on themselves."""
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    return {name for name, count in calls.items() if count == 1}


@torch.no_grad()
def fit_in_order(
    plan: Plan,
    ready: Mapping[str, CompressedLayer],
    batches: Sequence[Batch],
    report: Report,
    *,
    recalibrate: Set[str] = frozenset(),
    scores: bool = False,
) -> dict[str, nn.Module]:
    """Fits the layers of `plan` one after the other.

    Args:
        plan: what is done to which layers.
        ready: layers of the plan that are fitted already.
        batches: calibration samples; only as many as `walk.MEMORY` allows are used.
        report: told of every layer; raising `Cancelled` from it stops the work.
        recalibrate: modules whose output statistics are brought back (`recalibrated`), whether the plan changes them
            or not.
        scores: whether the model gives scores of classes, to which a last layer is then fitted (`fitted_to_scores`).

    Returns:
        The layers that were made: those of the plan that were not ready, and those that were recalibrated.
    """
    graph = plan.graph
    layers = {name for name, module in graph.named_modules() if isinstance(module, HasRows)}
    pending = (plan.settings.keys() - ready.keys()) | (recalibrate & layers)
    made, total = dict[str, nn.Module](), len(pending)
    if not pending:
        return made
    batches = within_memory(graph, batches, 2)
    walk = _SideBySide(graph, batches, plan.arguments)
    for node in graph.graph.nodes:
        name = str(node.target)
        if node.op != "call_module" or name not in plan.settings.keys() | pending:
            walk.run(node)
            continue
        if name in pending:
            report(Progress(total - len(pending), total, f"Fitting {name}"))
        step = _Step(plan, name, walk.inputs(node), walk.beside(node))
        replacement: nn.Module = step.layer
        if name in plan.settings:
            replacement = ready[name] if name in ready else step.fitted()
        if name in recalibrate and step.differs(replacement):
            replacement = recalibrated(replacement, step.staying, step.outputs(replacement))
        if scores and name in pending and isinstance(replacement, CompressedLayer) and gives_scores(graph, name):
            replacement = fitted_to_scores(replacement, walk.inputs(node).compressed, step.wanted, plan.bias_correction)
        if name in pending and replacement is not step.layer:
            made[name] = replacement
        walk.set(node, Lanes(step.wanted, step.outputs(replacement)))
        pending.discard(name)
        if not pending:
            break
    return made


class _Step:
    """One layer with what goes into it in both models, and what comes out of it in the original."""

    def __init__(self, plan: Plan, name: str, given: "Lanes", beside: "Lanes | None") -> None:
        self._plan = plan
        self._name = name
        self._given = given
        self._beside = beside
        self.layer = layer_at(plan.graph, name)
        self.wanted = [self.layer(x) for x in given.original]

    @property
    def staying(self) -> list[Tensor]:
        """The wanted outputs of the channels that stay."""
        return self._stays(self.wanted)

    @property
    def targets(self) -> list[Tensor]:
        """The outputs to fit to: the wanted ones of the channels that stay, or what a sum lacks of the original's."""
        beside = self._beside
        if beside is None or beside.agree or any(map(_differ, beside.original, self.wanted)):
            return self.staying
        sums = self._stays([y + other for y, other in zip(self.wanted, beside.original, strict=True)])
        if any(map(_differ, beside.compressed, sums)):
            return self.staying
        return [y - other for y, other in zip(sums, beside.compressed, strict=True)]

    def _stays(self, outputs: list[Tensor]) -> list[Tensor]:
        cut = self._plan.cuts.get(self._name)
        return outputs if cut is None else [_kept(self.layer, y, cut) for y in outputs]

    def fitted(self) -> CompressedLayer:
        """The layer with its settings, on the inputs that it really gets."""
        plan, layer = self._plan, self._plan.layer(self._name)
        fit = sequential_fit(layer, self._given.compressed, self.targets, plan.bias_correction)
        return plan.build(self._name, fit)

    def differs(self, layer: nn.Module) -> bool:
        """Whether `layer` gives anything else here than the original does."""
        return layer is not self.layer or not self._given.agree

    def outputs(self, layer: nn.Module) -> list[Tensor]:
        """What `layer` gives in the compressed model."""
        return [layer(x) for x in self._given.compressed] if self.differs(layer) else self.wanted


def _differ(one: Tensor, other: Tensor) -> bool:
    """Whether a sum of the two would have to repeat values of one."""
    return one.shape != other.shape


def _kept(layer: HasRows, y: Tensor, cut: Cut) -> Tensor:
    """Those of a layer's outputs that stay."""
    return y[..., list(cut.outputs)] if isinstance(layer, nn.Linear) else y[:, list(cut.outputs)]


def sequential_fit(layer: HasRows, inputs: list[Tensor], outputs: list[Tensor], bias_correction: bool = True) -> Fit:
    """The weight that best maps the compressed model's inputs to the original's outputs, held near the layer's own.

    Args:
        layer: the original layer.
        inputs: what the compressed layers before it give, by batch.
        outputs: what the layer gives in the original model.
        bias_correction: whether the bias may change; where not, the weight alone is fitted to the outputs.
    """
    seen = RunningMoments(layer)
    for x, y in zip(inputs, outputs, strict=True):
        seen.add(x, y)
    plain = plain_fit(layer)
    second, cross = seen.second, seen.cross
    mean, output_mean = seen.mean, seen.output_mean
    if plain.bias is not None:
        shift = output_mean if bias_correction else plain.bias.double().reshape(output_mean.shape)
        cross = cross - shift[..., :, None] * mean[..., None, :]
        second = covariance(second, mean) if bias_correction else second
    held = damped(second)
    wanted = torch.linalg.solve(held, (cross + plain.weight @ (held - second)).mT).mT
    return Fit(wanted, plain.bias, second, mean, output_mean.flatten() if bias_correction else None)


@dataclass(frozen=True, eq=False)
class Lanes:
    """A value in both models, batch by batch; one and the same list as long as the models agree."""

    original: list[Any]
    compressed: list[Any]

    @property
    def agree(self) -> bool:
        """Whether nothing before made a difference."""
        return self.original is self.compressed


class _SideBySide:
    """Runs a graph node by node in both models; values go when nothing needs them any more.

    Args:
        graph: of the original.
        batches: its inputs.
        arguments: of nodes that get others in the compressed model.
    """

    def __init__(
        self, graph: fx.GraphModule, batches: Sequence[Batch], arguments: Mapping[fx.Node, tuple[Any, ...]]
    ) -> None:
        self._arguments = arguments
        self._interpreter = fx.Interpreter(graph)
        self._batches = range(len(batches))
        self._feeds = iter([[batch[i] for batch in batches] for i in range(len(batches[0]))])
        self._values: dict[fx.Node, Lanes] = {}

    def inputs(self, node: fx.Node) -> Lanes:
        """What a layer is given."""
        return self._values[node.all_input_nodes[0]]

    def beside(self, node: fx.Node) -> Lanes | None:
        """What is added to a node's value where nothing else uses it; None where that cannot be known yet."""
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is None or role(user) != "add" or user.kwargs or len(user.args) != 2:
            return None
        others = [other for other in user.all_input_nodes if other is not node]
        return self._known(others[0]) if len(others) == 1 else None

    def _known(self, node: fx.Node) -> Lanes | None:
        """A node's value, computed before its turn where it only moves what is known, as a shortcut's padding does."""
        if node not in self._values:
            if role(node) != "move" or len(node.all_input_nodes) > 1 or self._known(node.all_input_nodes[0]) is None:
                return None
            self._values[node] = self._computed(node)
        return self._values[node]

    def run(self, node: fx.Node) -> None:
        """Computes a node that is the same in both models, unless it was before."""
        self.set(node, self._values[node] if node in self._values else self._computed(node))

    def _computed(self, node: fx.Node) -> Lanes:
        if node.op == "placeholder":
            feed = next(self._feeds)
            return Lanes(feed, feed)
        original = self._lane(node, node.args, lambda lanes: lanes.original)
        arguments = self._arguments.get(node, node.args)
        agree = all(self._values[n].agree for n in node.all_input_nodes)
        same = agree and arguments is node.args
        return Lanes(original, original if same else self._lane(node, arguments, lambda lanes: lanes.compressed))

    def set(self, node: fx.Node, lanes: Lanes) -> None:
        """Notes a node's value and forgets those that it was the last to use."""
        self._values[node] = lanes
        for used in self._interpreter.user_to_last_uses.get(node, []):
            del self._values[used]

    def _lane(self, node: fx.Node, args: tuple[Any, ...], lane: Callable[[Lanes], list[Any]]) -> list[Any]:
        return [
            execute(self._interpreter, node, args, {n: lane(self._values[n])[i] for n in node.all_input_nodes})
            for i in self._batches
        ]
