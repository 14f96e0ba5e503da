"""Running a graph again after an edit gives the same bits from less work."""

import copy
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.compression.activations import with_rounded_biases
from studio.compression.walk import execute
from studio.evaluation import replay as replaying
from studio.evaluation.arrays import Array
from studio.evaluation.evaluate import measure
from studio.evaluation.predict import torch_predict
from studio.evaluation.replay import Replay

PLENTY = 1 << 30
INDICES = np.arange(12)
Batch = tuple[Array, tuple[Tensor, ...]]


class Residual(nn.Module):
    """Blocks with a shortcut each, as in a ResNet."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(blocks))
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for first, second in zip(self.first, self.second, strict=True):
            x = F.relu(x + second(F.relu(first(x))))
        return self.head(x.mean((2, 3)))


class Branching(nn.Module):
    """Branches of which one gives a tuple, and a size that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1)
        self.memory = nn.GRU(8, 6, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.left(x), F.gelu(self.right(x))], 1)
        steps, last = self.memory(both.reshape(x.shape[0], 8, -1).transpose(1, 2))
        one, two = torch.split(steps[:, -1], [3, 3], 1)
        return self.head(torch.cat([one, two, last[0]], 1))


class Transformer(nn.Module):
    """Two blocks of attention and feed-forward."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.words = nn.Embedding(11, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width),
                    **{name: nn.Linear(width, width) for name in ("q", "k", "v", "o")},
                    "up": nn.Linear(width, 2 * width),
                    "down": nn.Linear(2 * width, width),
                }
            )
            for _ in range(2)
        )
        self.head = nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        for block in self.blocks:
            y = block["norm"](x)
            q, k, v = (block[name](y).unflatten(-1, (2, -1)).transpose(1, 2) for name in ("q", "k", "v"))
            mixed = F.scaled_dot_product_attention(q, k, v)
            x = x + block["o"](mixed.transpose(1, 2).flatten(2))
            x = x + block["down"](F.gelu(block["up"](x)))
        return self.head(x.mean(1))


def graph_of(net: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(net).eval()


@pytest.fixture(params=[Residual, Branching, Transformer], ids=lambda net: net.__name__.lower())
def graph(request: pytest.FixtureRequest) -> fx.GraphModule:
    torch.manual_seed(0)
    return graph_of(request.param())


def inputs_of(graph: fx.GraphModule, size: int = 12, seed: int = 1) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    if any(isinstance(module, nn.Embedding) for module in graph.modules()):
        return (torch.randint(0, 11, (size, 7), generator=generator),)
    return (torch.randn(size, 2, 6, 6, generator=generator),)


def batches_of(graph: fx.GraphModule) -> list[Batch]:
    return [(np.arange(i, i + 12), inputs_of(graph, seed=i)) for i in range(0, 48, 12)]


def layers_of(graph: fx.GraphModule) -> list[str]:
    return [name for name, module in graph.named_modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.GRU)]


def edited(graph: fx.GraphModule, *names: str, by: float = 0.9) -> fx.GraphModule:
    """The graph with the weights of some layers scaled."""
    changed = copy.copy(graph)
    for name in names:
        layer = copy.deepcopy(graph.get_submodule(name))
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(by)
        changed.set_submodule(name, layer)
    return changed.eval()


def assert_same_bits(replay: Replay, changed: fx.GraphModule, batches: list[Batch]) -> None:
    replayed, full = replay.predict(changed), torch_predict(changed)
    for indices, inputs in batches:
        found, wanted = replayed.outputs(indices, inputs), full(inputs)
        assert torch.equal(found, wanted)
        assert found.stride() == wanted.stride()


def run(replay: Replay, changed: fx.GraphModule) -> Tensor:
    return replay.predict(changed).outputs(INDICES, inputs_of(changed))


@pytest.mark.parametrize("follow", [False, True], ids=["fixed", "following"])
@pytest.mark.parametrize("budget", [0, 3_000, 60_000, PLENTY])
def test_one_change_or_several_give_the_bits_of_a_full_run(graph: fx.GraphModule, follow: bool, budget: int):
    replay, batches, layers = Replay(graph, budget, follow), batches_of(graph), layers_of(graph)
    for names in ([], *([name] for name in layers), layers[::2], layers[-2:], layers, []):
        assert_same_bits(replay, edited(graph, *names), batches)
        assert replay.bytes <= budget


def test_edits_that_follow_one_another_give_the_bits_of_full_runs(graph: fx.GraphModule):
    replay, batches, current = Replay(graph, PLENTY, follow=True), batches_of(graph), graph
    for i in (3, 1, 3, 2, 0, 4):
        names = layers_of(graph)
        current = edited(current, names[i % len(names)])
        assert_same_bits(replay, current, batches)


def test_samples_are_told_apart(graph: fx.GraphModule):
    replay = Replay(graph, PLENTY)
    for seed in (1, 2, 1):
        indices, inputs = np.arange(12) + seed, inputs_of(graph, seed=seed)
        assert torch.equal(replay.predict(graph).outputs(indices, inputs), torch_predict(graph)(inputs))


def dependents(graph: fx.GraphModule, name: str) -> set[str]:
    """Names of the nodes that the value of a layer reaches, itself among them."""
    found = {node for node in graph.graph.nodes if node.target == name}
    for node in graph.graph.nodes:
        if not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return {node.name for node in found}


@pytest.fixture
def all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every value, so that what runs again does not hang on measured times."""
    monkeypatch.setattr(replaying.Kept, "choose", lambda kept, costs: costs)


@pytest.mark.usefixtures("all_kept")
@pytest.mark.parametrize("follow", [False, True], ids=["fixed", "following"])
def test_an_edit_runs_again_what_depends_on_it_and_nothing_else(
    graph: fx.GraphModule, follow: bool, executed: list[str]
):
    replay = Replay(graph, PLENTY, follow)
    run(replay, graph)
    for name in layers_of(graph):
        run(replay, graph)  # a following replay goes back to it
        executed.clear()
        run(replay, edited(graph, name))
        assert set(executed) == dependents(graph, name) | attributes_read(graph, executed)


def attributes_read(graph: fx.GraphModule, executed: list[str]) -> set[str]:
    """Those of the executed nodes that only look up constants."""
    return {node.name for node in graph.graph.nodes if node.op == "get_attr" and node.name in executed}


@pytest.mark.usefixtures("all_kept")
def test_of_several_edits_all_from_the_first_of_them_on_runs_again(executed: list[str]):
    graph = graph_of(Residual())
    replay = Replay(graph, PLENTY)
    run(replay, graph)
    executed.clear()
    run(replay, edited(graph, "second.3", "second.2", "head"))
    assert set(executed) == dependents(graph, "second.2")


@pytest.mark.usefixtures("all_kept")
def test_an_edit_to_an_edited_graph_runs_from_the_newest_edit_on(executed: list[str]):
    graph = graph_of(Residual())
    replay = Replay(graph, PLENTY, follow=True)
    first = edited(graph, *layers_of(graph))
    run(replay, first)
    executed.clear()
    run(replay, edited(first, "second.3"))
    assert set(executed) == dependents(graph, "second.3")


@pytest.mark.usefixtures("all_kept")
def test_variants_of_the_original_do_not_drive_out_its_values(executed: list[str]):
    graph = graph_of(Residual())
    replay = Replay(graph, PLENTY)
    run(replay, graph)
    for name in ("stem", "second.0", "head"):
        run(replay, edited(graph, name))
    executed.clear()
    run(replay, edited(graph, "first.3"))
    assert set(executed) == dependents(graph, "first.3")


def test_an_edit_to_the_last_third_runs_less_than_half_of_the_nodes_at_chosen_cuts_too(executed: list[str]):
    graph = graph_of(Residual(8))
    convolutions = {node.name for node in graph.graph.nodes if node.op == "call_module"}
    # a clock that tells work done, so that the cuts do not hang on what else the machine does
    replay = Replay(graph, PLENTY, clock=lambda: sum(10.0 if name in convolutions else 1.0 for name in executed))
    run(replay, graph)
    whole = len(executed)
    for place in (6, 7):
        executed.clear()
        run(replay, edited(graph, f"second.{place}"))
        assert len(executed) < whole / 2
        assert convolutions & set(executed) <= {"first_6", "second_6", "first_7", "second_7", "head"}


@pytest.mark.usefixtures("all_kept")
def test_an_unchanged_graph_runs_nothing_but_its_output(executed: list[str]):
    graph = graph_of(Transformer())
    replay = Replay(graph, PLENTY)
    first = run(replay, graph)
    executed.clear()
    assert torch.equal(run(replay, copy.copy(graph)), first)
    assert executed == ["output"]


def fewer_channels(graph: fx.GraphModule) -> fx.GraphModule:
    """A residual graph whose last block is narrower inside."""
    changed, first, second = copy.copy(graph), nn.Conv2d(6, 3, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
    changed.set_submodule("first.3", first)
    changed.set_submodule("second.3", second)
    return changed.eval()


def factored(graph: fx.GraphModule) -> fx.GraphModule:
    """A residual graph with two thin layers in place of one."""
    changed = copy.copy(graph)
    changed.set_submodule("second.1", nn.Sequential(nn.Conv2d(6, 2, 1, bias=False), nn.Conv2d(2, 6, 3, padding=1)))
    return changed.eval()


def rounded(graph: fx.GraphModule) -> fx.GraphModule:
    """A residual graph that rounds in between, by nodes that the original does not have."""
    copied, root = fx.Graph(), copy.copy(graph)
    root.add_submodule("rounding", nn.Hardtanh(-0.5, 0.5))
    made: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        made[node] = copied.node_copy(node, made.__getitem__)
        if node.name in ("relu_3", "relu_4"):
            made[node] = copied.call_module("rounding", (made[node],))
    return with_rounded_biases(fx.GraphModule(root, copied).eval(), ())


@pytest.mark.parametrize("follow", [False, True], ids=["fixed", "following"])
@pytest.mark.parametrize("budget", [30_000, PLENTY])
def test_changes_of_structure_give_the_bits_of_full_runs(follow: bool, budget: int):
    torch.manual_seed(0)
    graph = graph_of(Residual())
    replay, batches = Replay(graph, budget, follow), batches_of(graph)
    for changed in (fewer_channels(graph), graph, factored(graph), rounded(graph), rounded(factored(graph)), graph):
        assert_same_bits(replay, changed, batches)
        assert replay.bytes <= budget


@pytest.mark.usefixtures("all_kept")
def test_a_node_put_in_between_re_runs_only_what_comes_after_it(executed: list[str]):
    graph = graph_of(Residual())
    replay = Replay(graph, PLENTY)
    run(replay, graph)
    executed.clear()
    run(replay, rounded(graph))
    assert "first_0" not in executed
    assert executed[0] == "rounding"


class InPlace(nn.Module):
    """Writes to values that others read too."""

    def __init__(self, write: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = y.view(-1, 2, 2)
        self.write(z)
        return self.b(y) + x


WRITES = {
    "method": lambda x: x.relu_(),
    "function": lambda x: F.relu(x, inplace=True),
    "module": nn.ReLU(inplace=True),
    "out": lambda x: torch.neg(x, out=x),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_graph_that_writes_in_place_is_run_in_full(write: Callable[[Tensor], Tensor]):
    torch.manual_seed(0)
    graph = graph_of(InPlace(write))
    graph.graph.lint()
    replay, inputs = Replay(graph, PLENTY), (torch.randn(12, 4),)
    for changed in (graph, edited(graph, "b"), edited(graph, "a"), graph):
        assert torch.equal(replay.predict(changed).outputs(INDICES, inputs), torch_predict(changed)(inputs))
    assert replay.bytes == 0


def test_inputs_that_a_graph_writes_to_reach_the_full_run_as_they_were():
    graph = fx.symbolic_trace(lambda x: x.add_(1) * 2).eval()
    found = Replay(graph, PLENTY).predict(graph).outputs(INDICES, (torch.zeros(12, 1),))
    assert torch.equal(found, torch.full((12, 1), 2.0))


def test_a_variant_that_writes_in_place_does_not_spoil_what_was_kept():
    graph = graph_of(Residual())
    replay = Replay(graph, PLENTY)
    run(replay, graph)
    writing = fx.GraphModule(graph, copy.deepcopy(graph.graph)).eval()
    node = next(node for node in writing.graph.nodes if node.name == "relu_8")
    node.target, node.kwargs = torch.relu_, {}
    writing.recompile()
    for changed in (writing, graph, edited(graph, "head")):
        inputs = inputs_of(graph)
        assert torch.equal(replay.predict(changed).outputs(INDICES, inputs), torch_predict(changed)(inputs))


def test_a_run_that_failed_leaves_nothing_half_known(monkeypatch: pytest.MonkeyPatch):
    graph = graph_of(Residual())
    replay, calls = Replay(graph, PLENTY), iter(range(1000))

    def broken(interpreter: fx.Interpreter, node: fx.Node, *rest: object) -> object:
        if next(calls) == 9:
            raise MemoryError
        return execute(interpreter, node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(replaying, "execute", broken)
    with pytest.raises(MemoryError):
        run(replay, graph)
    assert torch.equal(run(replay, graph), torch_predict(graph)(inputs_of(graph)))


def test_every_batch_gets_a_part_of_the_budget_and_all_together_no_more_than_it():
    graph = graph_of(Residual())
    replay = Replay(graph, 300_000)
    for _ in range(2):
        for indices, inputs in batches_of(graph):
            replay.predict(graph).outputs(indices, inputs)
    sizes = [kept.bytes for kept in replay._batches.values()]
    assert min(sizes) > 0
    assert max(sizes) <= 300_000 * replaying.SHARE
    assert sum(sizes) == replay.bytes


def test_the_first_run_keeps_values_up_to_the_end_where_few_fit(executed: list[str]):
    graph = graph_of(Residual(8))
    value = 4 * 12 * 6 * 36  # bytes of an activation: a quarter of the budget holds eight of about 34
    replay = Replay(graph, 4 * 8 * value, clock=count().__next__)  # all nodes cost the same
    run(replay, graph)
    whole = len(executed)
    for name, share in (("head", 1 / 4), ("second.4", 2 / 3)):
        executed.clear()
        run(replay, edited(graph, name))
        assert len(executed) < share * whole


class Numbered:
    """Samples by index with made-up labels."""

    metric, labelled = "top1", True

    def __init__(self, inputs: Tensor) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def inputs(self, indices: Array) -> tuple[Tensor, ...]:
        return (self._inputs[indices],)

    def labels(self, indices: Array) -> Tensor:
        return torch.as_tensor(indices) % 5

    def order(self, seed: int) -> Array:
        return np.random.default_rng(seed).permutation(len(self))


def results(graph: fx.GraphModule) -> Iterator[fx.GraphModule]:
    yield graph
    yield edited(graph, "second.2", by=-1)
    yield edited(graph, "second.2", "head", by=0.1)


def test_measuring_a_replay_finds_what_measuring_the_graph_does():
    torch.manual_seed(0)
    graph = graph_of(Residual())
    replay, data = Replay(graph, PLENTY), Numbered(torch.randn(300, 2, 6, 6))
    for changed in results(graph):
        full = measure(torch_predict(changed), data, reference=torch_predict(graph))
        assert measure(replay.predict(changed), data, reference=torch_predict(graph)) == full
