import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.models.layer import IntegerOperator
from studio.models.sites import find_sites
from studio.recipe.rounding import rounded_sites


class Block(nn.Module):
    """A residual block with a pooling and a linear layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        y = F.max_pool2d(torch.relu(self.second(y) + y), 2)
        return self.head(y.mean((2, 3)))


GRAPH = fx.symbolic_trace(Block().eval())
SITES = find_sites(GRAPH, {"first", "second", "head"})


def test_the_sites_of_a_residual_block_are_inputs_outputs_behind_relu_sums_and_means():
    assert [node.name for node in SITES.nodes] == ["x", "relu", "second", "relu_1", "mean"]


def test_a_pooling_hands_on_the_levels_of_what_it_reads():
    assert {node.name: number for node, number in SITES.moves.items()} == {"max_pool2d": 3}
    assert [site.places for site in SITES.described(GRAPH, ["image"])] == [1, 1, 1, 2, 1]


def test_only_the_models_input_bears_a_name():
    assert [site.input for site in SITES.described(GRAPH, ["image"])] == ["image", None, None, None, None]


def test_the_last_product_gives_floats_and_a_sum_stands_between_its_layers():
    assert SITES.operators == (
        IntegerOperator("first", (0,), 1),
        IntegerOperator("second", (1,), 2),
        IntegerOperator(None, (2, 1), 3),
        IntegerOperator("head", (4,), None),
    )


def test_a_sum_is_rounded_only_where_both_its_terms_are():
    assert rounded_sites(SITES.operators, {"second"}) == {1, 2, 3}
    assert rounded_sites(SITES.operators, {"first"}) == {0, 1}
    assert rounded_sites(SITES.operators, {"head"}) == {4}
