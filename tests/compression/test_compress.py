from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from studio.analysis.calibration import Calibration, calibrate
from studio.compression.compress import CompressedModel, compress
from studio.compression.modules import Factored
from studio.errors import CompressionError, RecipeError
from studio.models.model import Model
from studio.progress import Cancelled, Progress
from studio.recipe.factorization import Factorization
from studio.recipe.recipe import Recipe


def recipe(fit: str = "layer", **layers: object) -> Recipe:
    return Recipe.model_validate({"layers": layers, "options": {"fit": fit}})


def outputs(compressed: CompressedModel, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return compressed.graph(x)


def error(compressed: CompressedModel, x: torch.Tensor) -> float:
    return float((outputs(compressed, x) - compressed.model.graph(x)).detach().square().mean())


FOUR_BITS = {"quantize": {"weight_bits": 4}}


def test_an_empty_recipe_gives_the_model_itself(model: Model, samples: torch.Tensor) -> None:
    compressed = compress(model, Recipe())
    assert compressed.settings == {}
    assert torch.equal(outputs(compressed, samples), model.graph(samples))


@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_the_original_stays_as_it_is_bit_for_bit(
    model: Model, calibration: Calibration, mixed: Recipe, fit: str
) -> None:
    before = {name: tensor.clone() for name, tensor in model.graph.state_dict().items()}
    modules = dict(model.graph.named_modules())
    compress(model, mixed.model_copy(update={"options": recipe(fit).options}), calibration=calibration)
    after = model.graph.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert dict(model.graph.named_modules()) == modules


def test_layers_that_are_not_changed_are_shared(model: Model) -> None:
    compressed = compress(model, recipe(stem=FOUR_BITS))
    assert compressed.graph.get_submodule("down") is model.module("down")
    assert compressed.graph.get_submodule("stem") is not model.module("stem")
    assert list(compressed.settings) == ["stem"]


def test_kept_layers_are_left_alone(model: Model) -> None:
    kept = Recipe.model_validate({"default": FOUR_BITS, "layers": {"head": {"keep": True}}})
    compressed = compress(model, kept)
    assert set(compressed.settings) == {"stem", "depthwise", "down", "hidden"}
    assert compressed.graph.get_submodule("head") is model.module("head")


def test_full_rank_and_fine_grids_change_nearly_nothing(
    model: Model, calibration: Calibration, samples: torch.Tensor
) -> None:
    full = compress(model, recipe(down={"rank": {"rank": 12}}, hidden={"rank": {"rank": 20}}), calibration=calibration)
    torch.testing.assert_close(outputs(full, samples), model.graph(samples), atol=1e-5, rtol=1e-4)
    assert full.factors["hidden"] == Factorization("matrix", (20,))


def test_the_effective_weight_reproduces_a_factored_convolution(
    model: Model, calibration: Calibration, samples: torch.Tensor
) -> None:
    """Without a bias in the layer, a convolution with the effective weight is the whole layer."""
    compressed = compress(model, recipe(down={"rank": {"energy": 0.6}}), calibration=calibration)
    layer = compressed.graph.get_submodule("down")
    assert isinstance(layer, Factored)
    x = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.conv2d(x, compressed.effective_weight("down"), None, 2, 1)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)
    assert layer.factorization == compressed.factors["down"]
    assert compressed.effective_weight("stem") is not None


def test_pruning_then_rounding_keeps_the_zeros(model: Model, calibration: Calibration) -> None:
    settings = {**FOUR_BITS, "prune": {"ratio": 0.5}}
    compressed = compress(model, recipe(hidden=settings, depthwise=settings), calibration=calibration)
    for name, size in (("hidden", 3840), ("depthwise", 72)):
        mask = compressed.graph.get_submodule(name).get_submodule("stored").get_buffer("mask")
        assert int((~mask).sum()) == size // 2
        assert not compressed.effective_weight(name)[~mask].any()


def test_the_bias_makes_up_for_the_mean(model: Model, calibration: Calibration, samples: torch.Tensor) -> None:
    compressed = compress(model, recipe(stem={"prune": {"ratio": 0.7}}), calibration=calibration)
    with torch.inference_mode():
        original, changed = (m.get_submodule("stem")(samples).mean((0, 2, 3)) for m in (model.graph, compressed.graph))
    torch.testing.assert_close(changed, original, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [FOUR_BITS, {"prune": {"ratio": 0.6}}], ids=["4 bit", "sparse"])
def test_knowing_the_inputs_helps_and_following_them_helps_more(
    model: Model, calibration: Calibration, samples: torch.Tensor, settings: dict[str, object]
) -> None:
    alone, followed = (
        Recipe.model_validate({"default": settings, "options": {"fit": fit}}) for fit in ("layer", "sequential")
    )
    blind = compress(model, alone)
    aware, sequential = (compress(model, r, calibration=calibration) for r in (alone, followed))
    assert error(sequential, samples) < error(aware, samples) < error(blind, samples)
    assert (blind.fit, aware.fit, sequential.fit) == ("layer", "layer", "sequential")


def test_data_aware_can_be_switched_off(model: Model, calibration: Calibration) -> None:
    off = Recipe.model_validate({"default": FOUR_BITS, "options": {"data_aware": False}})
    with_data, without = compress(model, off, calibration=calibration), compress(model, off)
    assert torch.equal(with_data.effective_weight("down"), without.effective_weight("down"))
    assert with_data.fit == "layer"


def test_one_edit_rebuilds_one_layer(model: Model, calibration: Calibration, mixed: Recipe) -> None:
    first = compress(model, mixed.model_copy(update={"options": recipe().options}), calibration=calibration)
    edited = first.recipe.with_layer("depthwise", recipe(depthwise=FOUR_BITS).layers["depthwise"])
    second = compress(model, edited, calibration=calibration, previous=first)
    same = {n for n in second.settings if second.graph.get_submodule(n) is first.graph.get_submodule(n)}
    assert same == {"stem", "down", "hidden"}
    assert second.factors == first.factors


def test_in_a_sequential_fit_all_behind_an_edit_follow(
    model: Model, calibration: Calibration, mixed: Recipe, samples: torch.Tensor
) -> None:
    first = compress(model, mixed, calibration=calibration)
    edited = mixed.with_layer("down", recipe(down=FOUR_BITS).layers["down"])
    second = compress(model, edited, calibration=calibration, previous=first)
    same = {n for n in second.settings if second.graph.get_submodule(n) is first.graph.get_submodule(n)}
    assert same == {"stem", "depthwise"}
    anew = compress(model, edited, calibration=calibration)
    assert torch.equal(outputs(second, samples), outputs(anew, samples))


def test_other_options_take_nothing_over(model: Model, calibration: Calibration) -> None:
    first = compress(model, recipe("layer", stem=FOUR_BITS), calibration=calibration)
    second = compress(model, recipe("sequential", stem=FOUR_BITS), calibration=calibration, previous=first)
    assert second.graph.get_submodule("stem") is not first.graph.get_submodule("stem")


def test_an_unknown_layer_is_named(model: Model) -> None:
    with pytest.raises(RecipeError, match=r"no layer 'stam'.*Did you mean 'stem'"):
        compress(model, recipe(stam=FOUR_BITS))


@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_work_stops_where_a_report_says_so(model: Model, calibration: Calibration, fit: str) -> None:
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.done == 2:
            raise Cancelled

    every = Recipe.model_validate({"default": FOUR_BITS, "options": {"fit": fit}})
    with pytest.raises(Cancelled):
        compress(model, every, calibration=calibration, report=report)
    assert [(p.done, p.total) for p in seen] == [(0, 5), (1, 5), (2, 5)]


def test_the_best_form_is_never_farther_from_the_layer_than_its_matrix(model: Model, calibration: Calibration) -> None:
    moment = calibration.moments["down"].double()
    original = model.module("down").weight.detach().double().flatten(1)
    errors = {}
    for form in ("auto", "matrix", "spatial", "tucker"):
        chosen = recipe(down={"rank": {"parameters": 0.5, "form": form}}, fit="layer")
        compressed = compress(model, chosen, calibration=calibration)
        assert compressed.factors["down"].weights(tuple(model.module("down").weight.shape)) <= original.numel() // 2
        difference = compressed.effective_weight("down").double().flatten(1) - original
        errors[form] = float(((difference @ moment) * difference).sum())
    assert errors["auto"] in {errors["matrix"], errors["spatial"], errors["tucker"]}
    assert errors["auto"] <= errors["matrix"]


def test_a_single_row_shows_how_nothing_varies_so_the_weights_are_fitted_as_without_data(
    model: Model, samples: torch.Tensor
) -> None:
    one = calibrate(model, [(samples[:1],)])
    with_data = compress(model, recipe(hidden=FOUR_BITS), calibration=one)
    without = compress(model, recipe(hidden=FOUR_BITS))
    torch.testing.assert_close(with_data.effective_weight("hidden"), without.effective_weight("hidden"))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_layer_with_weights_that_are_not_finite_is_named(model: Model, value: float) -> None:
    graph = deepcopy(model.graph)
    with torch.no_grad():
        graph.get_parameter("down.weight")[0, 0, 0, 0] = value
    with pytest.raises(CompressionError, match="down: it holds weights that are not finite"):
        compress(Model(graph, model.info), recipe(down=FOUR_BITS))


def test_inputs_too_large_to_be_fitted_to_are_told_with_the_layer(model: Model, calibration: Calibration) -> None:
    strange = replace(calibration, moments={**calibration.moments, "down": calibration.moments["down"] * torch.nan})
    with pytest.raises(CompressionError, match="down: what it is given on the data is too large"):
        compress(model, recipe(down=FOUR_BITS), calibration=strange)
