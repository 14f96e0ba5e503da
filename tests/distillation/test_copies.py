"""Smaller copies of a model: which blocks repeat, what stays of them, and what the copy begins with."""

import pytest
import torch
from torch import Tensor, fx, nn

from studio.distillation.blocks import repeated_blocks
from studio.distillation.copies import smaller_copy
from studio.distillation.copy_settings import CopySettings
from studio.errors import TrainingError
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model


class Residual(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x).relu()) + self.shortcut(x)).relu()


class Net(nn.Module):
    """Four equal blocks, one that widens, two equal ones, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        sizes = [(8, 8)] * 4 + [(8, 12)] + [(12, 12)] * 2
        self.blocks = nn.Sequential(*(Residual(before, after) for before, after in sizes))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x).relu()).mean((2, 3)))


class Chain(nn.Module):
    """Depthwise and pointwise layers in turn, then one of another size."""

    def __init__(self) -> None:
        super().__init__()
        pairs = [(nn.Conv1d(6, 6, 3, padding=1, groups=6), nn.ReLU(), nn.Conv1d(6, 6, 1), nn.ReLU()) for _ in range(3)]
        self.body = nn.Sequential(nn.Conv1d(2, 6, 1), *(layer for pair in pairs for layer in pair), nn.Conv1d(6, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def opened(net: nn.Module, shape: tuple[int, ...]) -> Model:
    graph = fx.symbolic_trace(net).eval()
    for name, module in list(graph.named_modules()):  # as opening a file leaves it
        if isinstance(module, nn.Identity):
            for node in [node for node in graph.graph.nodes if node.target == name]:
                node.replace_all_uses_with(node.args[0])
                graph.graph.erase_node(node)
    graph.recompile()
    example = torch.zeros(2, *shape)
    outputs = tuple(graph(example).shape[1:])
    info = ModelInfo(
        path="net.onnx",
        format="onnx",
        fingerprint="net",
        inputs=(TensorSpec("x", "float32", (None, *shape)),),
        outputs=(TensorSpec("y", "float32", (None, *outputs)),),
        layers=layer_table(graph, (example,)),
        parameters=0,
        bytes=0,
        macs=0,
    )
    return Model(graph, info)


@pytest.fixture(scope="module")
def net() -> Model:
    torch.manual_seed(0)
    return opened(Net(), (3, 6, 6))


def shapes(graph: fx.GraphModule) -> dict[str, tuple[int, ...]]:
    return {name: tuple(module.weight.shape) for name, module in graph.named_modules() if hasattr(module, "weight")}


def blocks_in(graph: fx.GraphModule) -> set[str]:
    return {name.split(".")[1] for name in shapes(graph) if name.startswith("blocks")}


def test_equal_blocks_in_a_row_are_found_and_one_of_another_shape_is_none_of_them(net: Model):
    assert [len(run) for run in repeated_blocks(net.graph, net.example())] == [4, 2]


def test_blocks_of_several_layers_without_a_shortcut_are_found_too():
    chain = opened(Chain(), (2, 7))

    runs = repeated_blocks(chain.graph, chain.example())

    assert [len(run) for run in runs] == [3]


def test_half_the_depth_keeps_half_of_every_run_spread_evenly_with_their_weights(net: Model):
    copy = smaller_copy(net, CopySettings(width=1.0, depth=0.5, start="original"))

    assert blocks_in(copy.graph) == {"0", "3", "4", "5"}
    assert copy.notes == ()
    kept = copy.graph.get_submodule("blocks.3.second").weight
    assert torch.equal(kept, net.graph.get_submodule("blocks.3.second").weight)


def test_what_is_left_out_is_left_out_of_the_function(net: Model):
    shallow = smaller_copy(net, CopySettings(width=1.0, depth=0.25, start="original")).graph
    x = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    part = {name: net.graph.get_submodule(name) for name in shapes(net.graph)}

    def block(number: int, given: Tensor) -> Tensor:
        first, second = part[f"blocks.{number}.first"], part[f"blocks.{number}.second"]
        shortcut = part.get(f"blocks.{number}.shortcut", nn.Identity())
        return (second(first(given).relu()) + shortcut(given)).relu()

    inner = block(5, block(4, block(0, part["stem"](x).relu())))
    assert torch.allclose(shallow(x), part["head"](inner.mean((2, 3))), atol=1e-6)


def test_half_the_width_halves_every_layer_but_what_goes_in_and_out(net: Model):
    narrow = shapes(smaller_copy(net, CopySettings(width=0.5)).graph)

    assert narrow["stem"] == (4, 3, 3, 3)
    assert narrow["blocks.1.first"] == (4, 4, 3, 3)
    assert narrow["blocks.4.shortcut"] == (6, 4, 1, 1)
    assert narrow["head"] == (5, 6)


def test_new_weights_keep_the_size_of_signals_and_are_the_same_for_the_same_seed(net: Model):
    copy, again, other = (smaller_copy(net, CopySettings(width=0.75, seed=seed)).graph for seed in (3, 3, 4))

    weight = copy.get_submodule("blocks.5.first").weight
    assert copy(*net.example(32)).std().item() == pytest.approx(1.0, rel=1e-3)
    assert torch.equal(weight, again.get_submodule("blocks.5.first").weight)
    assert not torch.equal(weight, other.get_submodule("blocks.5.first").weight)


def test_the_original_stays_as_it_is(net: Model):
    before = {name: value.clone() for name, value in net.graph.state_dict().items()}

    smaller_copy(net, CopySettings(width=0.5, depth=0.5))

    assert all(torch.equal(value, before[name]) for name, value in net.graph.state_dict().items())
    assert blocks_in(net.graph) == set("0123456")


def test_a_network_without_repeated_blocks_says_so(model: Model):
    narrow = smaller_copy(model, CopySettings(width=0.5, depth=0.5))

    assert narrow.notes == ("depth: no block repeats and keeps its shape; all blocks stay.",)
    assert shapes(narrow.graph) == {"hidden": (24, 12), "head": (4, 24)}
    with pytest.raises(TrainingError, match="no block repeats"):
        smaller_copy(model, CopySettings(width=1.0, depth=0.5))


def test_a_copy_of_full_size_is_refused(model: Model):
    with pytest.raises(TrainingError, match="no smaller"):
        smaller_copy(model, CopySettings(width=1.0, depth=1.0))
