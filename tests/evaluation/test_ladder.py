"""Which rung of the recovery ladder applies, and which one is suggested."""

from dataclasses import replace
from typing import Any

import pytest

from studio.evaluation.ladder import (
    BIASES,
    DISTIL,
    LEAVE,
    NO_BIAS,
    NO_DATA,
    NO_NORM,
    NO_TRAINING_DATA,
    NONE_WITH_BIAS,
    NORMS,
    NOT_COMPRESSED,
    REFIT,
    RUNGS,
    TRAINED,
    Advice,
    Footing,
    advice,
    carried_out,
    standing,
    why_not,
)
from studio.evaluation.result import Measurement
from studio.models.layer import METHODS, OK, Layer, ModelInfo, TensorSpec
from studio.recipe.recipe import Recipe

PRUNED = {"prune": {"kind": "unstructured", "ratio": 0.5}}
ROUNDED = {"quantize": {"weight_bits": 4}}


def footing(
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    biases: tuple[bool, bool] = (True, True),
    lacks: dict[str, str] | None = None,
    **state: bool,
) -> Footing:
    """Two linear layers, of which `settings` hold for the first."""
    layers = tuple(
        Layer(name, "linear", (4, 4), 1, bias, 20, 80, 16, dict.fromkeys(METHODS, OK))
        for name, bias in zip("ab", biases, strict=True)
    )
    spec = (TensorSpec("x", "float32", (None, 4)),)
    info = ModelInfo("m.onnx", "onnx", "0" * 64, spec, spec, layers, 40, 160, 32, lacks=lacks or {})
    recipe = Recipe.model_validate({"studio": 1, "layers": {"a": settings} if settings else {}})
    recipe = recipe.with_options(**(options or {}))
    return Footing(info, recipe, recipe.settings_of(layers), **({"fits": True, "trains": True} | state))


def drop(value: float, low: float | None = None) -> Measurement:
    return Measurement("top1", value, value - 0.5 if low is None else low, value + 0.5, 1000)


def on_sequences(on: Footing, positions: int) -> Footing:
    """The same layers run at so many positions of a sequence."""
    layers = tuple(replace(layer, macs=positions * layer.macs) for layer in on.info.layers)
    return replace(on, info=replace(on.info, layers=layers))


@pytest.mark.parametrize("rung", RUNGS)
def test_nothing_applies_before_a_layer_is_compressed(rung):
    assert why_not(rung, footing()) == NOT_COMPRESSED


@pytest.mark.parametrize(
    ("rung", "on", "reason"),
    [
        (NORMS, footing(PRUNED, fits=False), NO_DATA),
        (REFIT, footing(PRUNED, fits=False), NO_DATA),
        (LEAVE, footing(PRUNED, fits=False), ""),
        (NORMS, footing(PRUNED, biases=(False, False)), NO_BIAS),
        (NORMS, footing(PRUNED, biases=(False, True)), ""),
        (NORMS, on_sequences(footing(PRUNED), 7), NO_NORM),
        (BIASES, on_sequences(footing(PRUNED), 7), ""),
        (BIASES, footing(PRUNED, biases=(False, True)), NONE_WITH_BIAS),
        (REFIT, footing(PRUNED, trained=True), TRAINED),
        (DISTIL, footing(PRUNED, trained=True), ""),
        (DISTIL, footing(PRUNED, trains=False), NO_TRAINING_DATA),
        (DISTIL, footing(PRUNED, lacks={"train": "there is no network"}), "There is no network."),
    ],
)
def test_a_rung_that_brings_nothing_says_why(rung, on, reason):
    assert why_not(rung, on) == reason


@pytest.mark.parametrize("rung", RUNGS[:-1])
def test_a_recipe_carried_out_by_a_rung_stands_on_it_and_keeps_its_layers(rung):
    on = footing(PRUNED)
    carried = carried_out(on.recipe, rung)
    assert standing(Footing(on.info, carried, on.chosen, True, True)) is rung
    assert carried.layers == on.recipe.layers


def test_what_makes_no_difference_is_no_rung():
    assert standing(footing(PRUNED)) is REFIT
    assert standing(footing(PRUNED, fits=False)) is LEAVE
    assert standing(footing(PRUNED, {"data_aware": False})) is LEAVE
    assert standing(footing(PRUNED, {"norm_recalibration": True})) is None
    assert standing(footing(PRUNED, trained=True)) is DISTIL


def test_a_drop_within_the_noise_needs_nothing():
    told = advice(footing(PRUNED), {"refit": drop(0.4)}, drop(0.4))
    assert (told.rung, told.why) == (None, "The drop is within the noise: nothing is needed.")


def test_before_anything_is_measured_nothing_is_suggested():
    assert advice(footing(PRUNED), {}, None).rung is None
    assert advice(footing(), {}, drop(0.0)).why == NOT_COMPRESSED


@pytest.mark.parametrize(
    ("settings", "first"),
    [(PRUNED, NORMS), (ROUNDED, BIASES), ({"rank": {"rank": 1}}, NORMS), (PRUNED | ROUNDED, NORMS)],
)
def test_the_first_remedy_follows_from_the_cause(settings, first):
    on = footing(settings, dict(LEAVE.options))
    assert advice(on, {"leave": drop(5.0)}, drop(5.0)).rung is first


def test_what_was_measured_without_a_gain_is_not_suggested_again():
    on = footing(PRUNED, dict(LEAVE.options))
    known = {"leave": drop(5.0), "norms": drop(4.8), "biases": drop(5.1)}
    assert advice(on, known, drop(5.0)).rung is REFIT
    assert advice(on, known | {"refit": drop(4.7)}, drop(5.0)).rung is DISTIL


def test_the_cheapest_rung_that_is_enough_beats_the_best_one():
    on = footing(PRUNED, dict(LEAVE.options))
    known = {"leave": drop(5.0), "norms": drop(3.0), "biases": drop(0.3), "refit": drop(0.1)}
    assert advice(on, known, drop(5.0)).rung is BIASES


def test_a_rung_that_lost_less_beyond_doubt_is_taken_and_one_that_may_have_is_not():
    on = footing(PRUNED, dict(LEAVE.options))
    known = {"leave": drop(5.0), "norms": drop(2.0), "biases": drop(4.9), "refit": drop(4.9)}
    told = advice(on, known, drop(5.0))
    assert told.rung is NORMS
    assert "lost 3.00 less" in told.why
    assert advice(on, known | {"norms": drop(4.6)}, drop(5.0)).rung is DISTIL


def test_from_the_last_fit_only_training_is_left_and_then_more_of_it():
    assert advice(footing(PRUNED), {"refit": drop(3.0)}, drop(3.0)).rung is DISTIL
    longer = advice(footing(PRUNED, trained=True), {"distil": drop(2.0)}, drop(2.0))
    assert longer.rung is DISTIL
    assert "longer" in longer.why


def test_where_training_is_impossible_the_reason_is_told():
    told = advice(footing(PRUNED, trains=False), {"refit": drop(3.0)}, drop(3.0))
    assert told.rung is None
    assert NO_TRAINING_DATA in told.why


def test_how_far_weights_are_off_is_taken_for_no_drop():
    alone = {"measure": "the file holds weights alone"}
    assert advice(footing(PRUNED, lacks=alone), {}, drop(32.0)) == Advice(None, "The file holds weights alone.")
