"""The learning rate over a run."""

import pytest

from studio.distillation.schedule import learning_rate
from studio.distillation.settings import DistillSettings


def test_the_rate_rises_to_its_peak_and_falls_to_zero_along_half_a_cosine() -> None:
    settings = DistillSettings(learning_rate=0.2)
    rates = [learning_rate(step, 105, settings) for step in range(105)]

    assert rates[:5] == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    assert rates[5] == 0.2
    assert rates[55] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.0, abs=1e-4)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_a_run_of_a_single_step_uses_the_peak() -> None:
    assert learning_rate(0, 1, DistillSettings(learning_rate=0.1)) == pytest.approx(0.1)
