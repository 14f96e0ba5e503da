"""The order in which samples are measured."""

import numpy as np
import pytest

from studio.evaluation.order import stratified_order


def test_every_sample_comes_exactly_once() -> None:
    labels = np.array([0, 1, 2] * 33 + [0])

    assert sorted(stratified_order(100, labels, seed=3).tolist()) == list(range(100))


@pytest.mark.parametrize("first", [10, 50, 128, 500])
def test_every_beginning_holds_each_class_by_its_share(first: int) -> None:
    labels = np.repeat([0, 1, 2, 3], [600, 300, 80, 20])

    counts = np.bincount(labels[stratified_order(1000, labels, seed=0)[:first]], minlength=4)

    assert np.abs(counts - first * np.array([0.6, 0.3, 0.08, 0.02])).max() <= 2


def test_the_seed_fixes_the_order() -> None:
    labels = np.arange(200) % 10

    assert np.array_equal(stratified_order(200, labels, seed=1), stratified_order(200, labels, seed=1))
    assert not np.array_equal(stratified_order(200, labels, seed=1), stratified_order(200, labels, seed=2))


def test_which_samples_of_a_class_come_first_is_random() -> None:
    labels = np.zeros(1000, dtype=int)

    first = stratified_order(1000, labels, seed=0)[:100]

    assert 350 < first.mean() < 650  # the mean of 100 of 0..999 has a deviation of 29
