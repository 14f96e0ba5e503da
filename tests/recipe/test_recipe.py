"""Which settings hold for a layer, and which recipes are refused."""

import pytest

from studio.errors import RecipeError
from studio.models.layer import METHODS, OK, Layer
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings, RankSettings


def layer(name: str, kind: str = "linear", **verdicts: str) -> Layer:
    return Layer(name, kind, (8, 6), 1, True, 56, 224, 48, {**dict.fromkeys(METHODS, OK), **verdicts})


def recipe(**plain: object) -> Recipe:
    return Recipe.model_validate({"studio": 1, **plain})


def bits(recipe: Recipe, name: str, **kwargs: str) -> int | None:
    settings = recipe.settings_for(layer(name, **kwargs))
    return settings.quantize.weight_bits if settings.quantize else None


def test_an_exact_name_beats_a_glob_beats_a_kind_beats_the_default():
    four, eight = {"quantize": {"weight_bits": 4}}, {"quantize": {"weight_bits": 8}}
    assert bits(recipe(default=four), "a.b") == 4
    assert bits(recipe(default=four, kinds={"linear": eight}), "a.b") == 8
    assert bits(recipe(kinds={"linear": eight}, layers={"a.*": four}), "a.b") == 4
    assert bits(recipe(layers={"a.b": four, "a.*": eight}), "a.b") == 4


def test_of_two_matching_globs_the_later_one_wins():
    globs = {"*.b": {"quantize": {"weight_bits": 4}}, "a.*": {"quantize": {"weight_bits": 8}}}
    assert bits(recipe(layers=globs), "a.b") == 8


def test_a_method_that_is_not_named_comes_from_the_more_general_entry():
    settings = recipe(
        default={"quantize": {"weight_bits": 8}}, layers={"a": {"prune": {"kind": "unstructured", "ratio": 0.5}}}
    ).settings_for(layer("a"))
    assert settings == LayerSettings(prune=PruneSettings(ratio=0.5), quantize=QuantizeSettings())


def test_a_method_named_as_null_is_switched_off():
    assert bits(recipe(default={"quantize": {}}, layers={"a": {"quantize": None}}), "a") is None


def test_a_kept_layer_has_no_other_setting():
    settings = recipe(default={"quantize": {}}, layers={"a": {"keep": True}}).settings_for(layer("a"))
    assert settings == LayerSettings(keep=True)
    assert settings.is_empty


def test_general_entries_leave_out_what_a_layer_cannot_take():
    general = recipe(default={"quantize": {}, "rank": {"rank": 2}})
    assert general.settings_for(layer("a", rank="no matrix to factor")).rank is None
    assert general.settings_for(layer("a")).rank == RankSettings(rank=2)


def test_general_n_of_m_leaves_out_layers_without_neighbours_to_choose_from():
    general = recipe(default={"prune": {"kind": "n_m", "n": 1, "m": 4}, "quantize": {}})
    narrow = layer("a", n_m="no neighbours")
    assert general.settings_for(narrow) == LayerSettings(quantize=QuantizeSettings())
    assert general.settings_for(layer("b")).prune == PruneSettings(kind="n_m", n=1, m=4)
    assert recipe(default={"prune": {"ratio": 0.5}}).settings_for(narrow).prune == PruneSettings(ratio=0.5)


@pytest.mark.parametrize(("columns", "zeros"), [(8, 12), (9, 12), (11, 15), (2, 0), (3, 3)])
def test_the_zeros_of_n_of_m_are_counted_group_by_group(columns: int, zeros: int):
    assert PruneSettings(kind="n_m", n=2, m=4).zeros(3, columns) == zeros


@pytest.mark.parametrize(
    "prune", [PruneSettings(kind="n_m", n=1, m=4), PruneSettings(kind="n_m", n=2, m=4), PruneSettings(ratio=0.5)]
)
def test_pruning_that_is_written_in_full_holds_only_what_goes_with_its_pattern(prune: PruneSettings):
    assert set(prune.model_dump()) == ({"kind", "n", "m"} if prune.kind == "n_m" else {"kind", "ratio"})
    assert PruneSettings.model_validate(prune.model_dump()) == prune


def test_zero_sparsity_is_no_pruning():
    settings = recipe(default={"prune": {"ratio": 0.0}}).settings_for(layer("a"))
    assert settings == LayerSettings()


def test_with_layer_returns_another_recipe_and_leaves_the_first_alone():
    first = recipe(default={"quantize": {"weight_bits": 4}})
    second = first.with_layer("a", LayerSettings(prune=PruneSettings(ratio=0.25)))
    assert first == recipe(default={"quantize": {"weight_bits": 4}})
    assert second.settings_for(layer("a")) == LayerSettings(prune=PruneSettings(ratio=0.25))
    assert bits(second, "b") == 4


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"layers": {"layr1": {"keep": True}}}, "no layer 'layr1'. Did you mean 'layer1'?"),
        ({"layers": {"conv*": {"keep": True}}}, "the pattern 'conv*' matches no layer"),
        ({"kinds": {"linea": {"keep": True}}}, "no 'linea' layers; it has linear. Did you mean 'linear'?"),
        ({"layers": {"layer1": {"rank": {"rank": 7}}}}, "layers.layer1.rank: 7 is more than the layer's full rank 6"),
        ({"layers": {"layer2": {"prune": {"ratio": 0.5}}}}, "layers.layer2.prune: depthwise"),
        ({"layers": {"layer2": {"prune": {"kind": "n_m", "n": 2, "m": 4}}}}, "layers.layer2.prune: no neighbours"),
    ],
)
def test_a_recipe_that_does_not_fit_the_model_says_where_and_why(plain: dict[str, object], message: str):
    with pytest.raises(RecipeError) as error:
        recipe(**plain).check([layer("layer1"), layer("layer2", prune="depthwise", n_m="no neighbours")])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_without_activations_everything_else_stays_as_it_was():
    rounded = {"quantize": {"weight_bits": 4, "activation_bits": 8}}
    plain = {"quantize": {"weight_bits": 4, "activation_bits": None}}
    kinds = {"linear": {"rank": {"rank": 2}}}
    recipe = Recipe.model_validate({"default": rounded, "kinds": kinds, "layers": {"a*": {"keep": True}, "b": rounded}})
    expected = Recipe.model_validate({"default": plain, "kinds": kinds, "layers": {"a*": {"keep": True}, "b": plain}})
    assert recipe.without_activations() == expected


def test_the_settings_of_many_layers_are_those_of_each_alone():
    chosen = recipe(
        default={"quantize": {}},
        kinds={"conv2d": {"prune": {"ratio": 0.5}}},
        layers={"a.*": {"quantize": {"weight_bits": 4}}, "a.b": {"keep": True}},
    )
    layers = [layer("a.b"), layer("a.c"), layer("a.d", quantize="too small"), layer("b", kind="conv2d")]
    assert chosen.settings_of(layers) == {one.name: chosen.settings_for(one) for one in layers}


def test_a_lock_is_resolved_like_settings_and_makes_no_difference_to_them():
    layers = [layer("a.b"), layer("a.c"), layer("d")]
    locking = recipe(layers={"a.*": {"locked": True}, "a.c": {"locked": False}})
    assert locking.locked(layers) == {"a.b"}
    assert all(locking.settings_for(one) == LayerSettings() for one in layers)


def test_entries_that_are_equal_but_mention_other_methods_are_told_apart():
    eight = {"quantize": {"weight_bits": 8}}
    silent = recipe(default=eight, layers={"a": {}})
    off = recipe(default=eight, layers={"a": {"quantize": None}})
    assert silent.layers["a"] == off.layers["a"]
    assert silent.settings_for(layer("a")) == LayerSettings(quantize=QuantizeSettings(weight_bits=8))
    assert off.settings_for(layer("a")) == LayerSettings()


def test_an_edit_resolves_only_the_layer_it_touches():
    layers = [layer("a"), layer("b")]
    four = LayerSettings(quantize=QuantizeSettings(weight_bits=4))
    before = Recipe().with_layers({"a": four, "b": four})
    after = before.with_layer("b", LayerSettings(prune=PruneSettings(ratio=0.5)))
    assert after.settings_of(layers)["a"] is before.settings_of(layers)["a"]
    assert after.settings_of(layers)["b"].prune == PruneSettings(ratio=0.5)


def test_a_locked_layer_can_be_changed_and_stays_locked():
    four = LayerSettings(quantize=QuantizeSettings(weight_bits=4))
    locking = Recipe().with_locks(["a"]).with_layer("a", four)
    assert locking.locked([layer("a")]) == {"a"}
    assert locking.settings_for(layer("a")) == four
    unlocked = locking.with_locks(["a"], locked=False)
    assert not unlocked.locked([layer("a")])
    assert unlocked.settings_for(layer("a")) == four
    assert Recipe.model_validate(locking.plain()) == locking
