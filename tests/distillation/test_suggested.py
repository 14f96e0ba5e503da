"""What a distillation is asked where nobody says how long it runs."""

from dataclasses import replace

import pytest

from studio.distillation.settings import DistillSettings
from studio.distillation.suggested import Suggestion, suggested
from studio.models.layer import Layer, ModelInfo, TensorSpec
from studio.recipe.settings import LayerSettings


def answering(*shape: int | None) -> ModelInfo:
    return ModelInfo("m.onnx", "onnx", "f", (), (TensorSpec("y", "float32", shape),), (), 0, 0, 0)


CLASSES, TOKENS = answering(None, 10), answering(None, 128, 63)


@pytest.mark.parametrize(
    ("samples", "batch", "epochs"),
    [
        (20_000, 128, 4),  # 157 steps each
        (4000, 32, 4),  # 125
        (1416, 16, 6),  # 89
        (50, 16, 20),  # 4
        (10_000_000, 128, 2),
    ],
)
def test_few_samples_pass_more_often_and_in_smaller_batches(samples: int, batch: int, epochs: int) -> None:
    chosen = suggested(DistillSettings(), samples, CLASSES).settings

    assert (chosen.batch_size, chosen.epochs) == (batch, epochs)


def test_what_was_chosen_stays_even_where_it_is_the_usual() -> None:
    assert suggested(DistillSettings(epochs=2, batch_size=128), 1416, CLASSES).settings == DistillSettings(
        epochs=2, batch_size=128
    )
    assert suggested(DistillSettings(batch_size=128, temperature=2.0), 1416, CLASSES).settings.epochs == 20
    assert suggested(DistillSettings(temperature=2.0), 1416, CLASSES).settings.temperature == 2.0


def test_answers_for_every_token_are_not_softened_unless_somebody_wants_it() -> None:
    assert suggested(DistillSettings(), 1416, CLASSES).settings.temperature == 4.0
    assert suggested(DistillSettings(), 1416, TOKENS).settings.temperature == 1.0
    assert suggested(DistillSettings(temperature=4.0), 1416, TOKENS).settings.temperature == 4.0


#: 1000 and 3000 weights.
LAYERS = tuple(
    Layer(name, "linear", (size, 100), 1, False, 100 * size, 400 * size, 0) for name, size in (("a", 10), ("b", 30))
)
IMAGES = replace(CLASSES, layers=LAYERS, inputs=(TensorSpec("x", "float32", (None, 3, 32, 32)),))


def asked(given: DistillSettings = DistillSettings(), **chosen: dict[str, object]) -> Suggestion:  # noqa: B008
    """What is suggested for 20,000 samples and these settings of the layers."""
    return suggested(
        given,
        20_000,
        replace(IMAGES, inputs=()),
        {name: LayerSettings.model_validate(one) for name, one in chosen.items()},
    )


def zeros(share: float) -> dict[str, object]:
    return {"prune": {"kind": "unstructured", "ratio": share}}


def test_many_zeros_go_gradually_and_take_twice_the_steps_unless_somebody_wants_it_otherwise() -> None:
    many = asked(a=zeros(0.5), b=zeros(0.9))  # (500 + 2700) / 4000

    assert (many.settings.gradual, many.settings.epochs, many.settings.learning_rate) == (True, 8, 0.001)
    assert many.reasons["gradual"].startswith("80 % of the weights become zero")
    assert not asked(a=zeros(0.9), b=zeros(0.3)).settings.gradual  # (900 + 900) / 4000
    own = asked(DistillSettings(gradual=False, epochs=3), b=zeros(0.9))
    assert (own.settings.gradual, own.settings.epochs) == (False, 3)
    assert own.reasons.keys() == {"batch_size"}
    assert not asked(DistillSettings(channel_steps=2), b=zeros(0.9)).settings.gradual
    assert not asked(DistillSettings(epochs=3), b=zeros(0.9)).settings.gradual  # 471 steps


def test_rounding_alone_is_trained_gently_with_levels_that_are_learnt() -> None:
    four = asked(a={"quantize": {"weight_bits": 4, "activation_bits": 8}}).settings
    eight = asked(a={"quantize": {"weight_bits": 8}}).settings
    two = asked(a={"quantize": {"weight_bits": 8}}, b={"quantize": {"weight_bits": 2}}).settings

    assert (four.learning_rate, four.learn_steps, four.epochs) == (0.0003, True, 4)
    assert (eight.learning_rate, eight.learn_steps) == (0.0003, False)
    assert (two.learning_rate, two.learn_steps, two.epochs) == (0.001, False, 8)  # 3000 of 4000 keep 2 bits
    assert asked(a={"quantize": {"weight_bits": 4}}, b=zeros(0.1)).settings.learning_rate == 0.001


def test_a_run_is_longer_where_most_weights_lose_rank() -> None:
    assert asked(b={"rank": {"parameters": 0.5}}).settings.epochs == 8
    assert asked(a={"rank": {"parameters": 0.5}}).settings.epochs == 4


def test_only_colour_images_are_shifted_by_an_eighth() -> None:
    grey = replace(IMAGES, inputs=(TensorSpec("x", "float32", (None, 1, 32, 32)),))

    assert suggested(DistillSettings(), 20_000, IMAGES).settings.crop == 4
    assert suggested(DistillSettings(crop=0), 20_000, IMAGES).settings.crop == 0
    assert suggested(DistillSettings(), 20_000, grey).settings.crop == 0
