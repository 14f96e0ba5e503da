"""What a distillation is asked where nobody says how long it runs."""

import pytest

from studio.distillation.settings import DistillSettings
from studio.distillation.suggested import suggested


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
    chosen = suggested(DistillSettings(), samples)

    assert (chosen.batch_size, chosen.epochs) == (batch, epochs)


def test_what_was_chosen_stays_even_where_it_is_the_usual() -> None:
    assert suggested(DistillSettings(epochs=2, batch_size=128), 1416) == DistillSettings(epochs=2, batch_size=128)
    assert suggested(DistillSettings(batch_size=128, temperature=2.0), 1416).epochs == 20
    assert suggested(DistillSettings(temperature=2.0), 1416).temperature == 2.0
