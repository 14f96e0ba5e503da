import pytest

from studio.errors import RecipeError
from studio.models.layer import OK, Layer
from studio.recipe.factorization import Factorization, budget, candidates, has_form, largest
from studio.recipe.recipe import Recipe
from studio.recipe.settings import RankSettings

CONV = (32, 16, 3, 3)  # 4608 weights


@pytest.mark.parametrize(
    ("factorization", "shapes", "weights"),
    [
        (Factorization("matrix", (5,)), ((5, 16, 3, 3), (32, 5, 1, 1)), 5 * (144 + 32)),
        (Factorization("spatial", (5,)), ((5, 16, 3, 1), (32, 5, 1, 3)), 5 * (48 + 96)),
        (Factorization("tucker", (4, 6)), ((4, 16, 1, 1), (6, 4, 3, 3), (32, 6, 1, 1)), 64 + 216 + 192),
    ],
)
def test_each_form_has_its_shapes(factorization, shapes, weights):
    assert factorization.shapes(CONV) == shapes
    assert factorization.weights(CONV) == weights


def test_three_dimensional_kernels_split_behind_their_first_axis():
    assert Factorization("spatial", (2,)).shapes((4, 3, 5, 3, 3)) == ((2, 3, 5, 1, 1), (4, 2, 1, 3, 3))


@pytest.mark.parametrize("form", ["matrix", "spatial", "tucker"])
@pytest.mark.parametrize("weights", [900, 2304, 3456])
def test_the_largest_ranks_fit_the_budget_and_no_larger_ones_do(form, weights):
    found = largest(form, CONV, weights)
    larger = Factorization(form, tuple(rank + 1 for rank in found.ranks))
    assert found.weights(CONV) <= weights < larger.weights(CONV)


def test_ranks_are_at_least_one_and_at_most_full():
    assert largest("matrix", CONV, 0).ranks == (1,)
    assert largest("matrix", CONV, 10**9).ranks == (32,)
    assert largest("spatial", CONV, 10**9).ranks == (48,)
    assert largest("tucker", CONV, 10**9).ranks == (16, 32)


def test_a_rank_an_energy_and_a_share_all_mean_a_number_of_weights():
    assert budget(RankSettings(rank=5), CONV) == 880
    assert budget(RankSettings(energy=0.9), CONV) is None
    assert budget(RankSettings(energy=0.9), CONV, 5) == 880
    assert budget(RankSettings(parameters=0.5), CONV) == 2304


def test_only_kernels_in_two_directions_have_a_spatial_form():
    assert [has_form(shape, "spatial") for shape in (CONV, (8, 8, 3, 1), (8, 8, 1, 3), (8, 8, 3), (8, 8))] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert [has_form(shape, "tucker") for shape in (CONV, (8, 8, 1, 1), (8, 8, 3), (8, 8))] == [
        True,
        False,
        True,
        False,
    ]


def test_the_best_form_is_sought_among_those_that_fit_the_budget():
    tried = list(candidates(RankSettings(parameters=0.5), CONV, 2304))
    assert [found.form for found in tried] == ["matrix", "spatial", "tucker"]
    assert all(found.weights(CONV) <= 2304 for found in tried)
    assert [found.form for found in candidates(RankSettings(rank=2), (8, 8), 32)] == ["matrix"]


def test_a_general_form_falls_back_to_the_matrix_where_there_is_no_kernel():
    assert [found.form for found in candidates(RankSettings(rank=2, form="spatial"), (8, 8), 32)] == ["matrix"]


def test_naming_a_layer_and_asking_for_a_form_it_cannot_have_is_an_error():
    layer = Layer("head", "linear", (8, 6), 1, True, 56, 224, 48, {"rank": OK})
    recipe = Recipe.model_validate({"layers": {"head": {"rank": {"rank": 2, "form": "tucker"}}}})
    with pytest.raises(
        RecipeError, match=r"layers.head.rank.form: tucker takes a kernel, and the layer's weight is 8×6"
    ):
        recipe.check([layer])
