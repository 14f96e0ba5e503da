"""Values are the same where the same computation makes them."""

import copy
import gc

import torch
from torch import Tensor, fx, nn

from studio.evaluation.versions import Versions


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        left = self.a(x) + self.shift
        right = self.b(torch.add(y, y, alpha=2))
        return left.view(-1, 3) * right


def copied(graph: fx.GraphModule) -> fx.GraphModule:
    """The same with nodes of its own, which `copy.copy` shares."""
    return fx.GraphModule(graph, copy.deepcopy(graph.graph))


def by_name(versions: dict[fx.Node, str]) -> dict[str, str]:
    return {node.name: version for node, version in versions.items()}


def with_module(graph: fx.GraphModule, name: str, module: nn.Module) -> fx.GraphModule:
    changed = copy.copy(graph)
    changed.set_submodule(name, module)
    return changed


def differing(graph: fx.GraphModule, changed: fx.GraphModule) -> set[str]:
    versions = Versions()
    before, after = by_name(versions.of(graph)), by_name(versions.of(changed))
    return {name for name in after if before.get(name) != after[name]}


def test_a_copy_of_a_graph_has_the_same_versions_and_each_of_its_values_another():
    graph = fx.symbolic_trace(Net())
    assert differing(graph, copy.copy(graph)) == set()
    versions = Versions().of(graph)
    assert len(set(versions.values())) == len(versions)


def test_another_module_changes_what_depends_on_it_alone():
    graph = fx.symbolic_trace(Net())
    changed = with_module(graph, "a", nn.Linear(3, 3))
    assert differing(graph, changed) == {"a", "add", "view", "mul", "output"}


def test_an_argument_and_its_type_count():
    graph = fx.symbolic_trace(Net())
    for alpha in (3, 2.0, True):
        changed = copied(graph)
        node = next(node for node in changed.graph.nodes if node.name == "add_1")
        node.kwargs = {"alpha": alpha}
        assert differing(graph, changed) == {"add_1", "b", "mul", "output"}


def test_another_constant_or_function_counts():
    graph = fx.symbolic_trace(Net())
    other = copy.copy(graph)
    other.shift = torch.ones(3)
    assert differing(graph, other) == {"shift", "add", "view", "mul", "output"}
    function = copied(graph)
    next(node for node in function.graph.nodes if node.name == "mul").target = torch.sub
    assert differing(graph, function) == {"mul", "output"}


def test_inputs_are_told_apart_by_their_place():
    versions = Versions().of(fx.symbolic_trace(lambda x, y: x - y))
    renamed = Versions().of(fx.symbolic_trace(lambda y, x: y - x))
    assert list(versions.values())[:2] == list(renamed.values())[:2]
    assert len(set(list(versions.values())[:2])) == 2


def test_a_node_put_in_between_leaves_the_rest_as_it_was():
    graph = fx.symbolic_trace(Net())
    changed = copied(graph)
    a = next(node for node in changed.graph.nodes if node.name == "a")
    with changed.graph.inserting_after(a):
        rounded = changed.graph.call_function(torch.round, (a,))
    a.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)
    assert differing(graph, changed) == {"round_1", "add", "view", "mul", "output"}


def test_the_number_of_a_module_that_is_gone_is_not_given_to_another():
    graph, versions, seen = fx.symbolic_trace(Net()), Versions(), set[str]()
    for _ in range(4):
        changed = with_module(graph, "a", nn.Linear(3, 3))
        seen.add(by_name(versions.of(changed))["a"])
        del changed
        gc.collect()
    assert len(seen) == 4
    assert len(versions._objects) <= 3  # a, b and shift
