"""What a distillation is asked where nobody says how long it runs."""

import pytest

from studio.distillation.settings import DistillSettings
from studio.distillation.suggested import suggested
from studio.models.layer import ModelInfo, TensorSpec


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
    chosen = suggested(DistillSettings(), samples, CLASSES)

    assert (chosen.batch_size, chosen.epochs) == (batch, epochs)


def test_what_was_chosen_stays_even_where_it_is_the_usual() -> None:
    assert suggested(DistillSettings(epochs=2, batch_size=128), 1416, CLASSES) == DistillSettings(
        epochs=2, batch_size=128
    )
    assert suggested(DistillSettings(batch_size=128, temperature=2.0), 1416, CLASSES).epochs == 20
    assert suggested(DistillSettings(temperature=2.0), 1416, CLASSES).temperature == 2.0


def test_answers_for_every_token_are_not_softened_unless_somebody_wants_it() -> None:
    assert suggested(DistillSettings(), 1416, CLASSES).temperature == 4.0
    assert suggested(DistillSettings(), 1416, TOKENS).temperature == 1.0
    assert suggested(DistillSettings(temperature=4.0), 1416, TOKENS).temperature == 4.0
