"""Scores of single samples, counted by hand."""

import numpy as np
import pytest
import torch

from studio.errors import DataError
from studio.evaluation.metrics import METRICS, default_metric


def scores(name: str, output: list[list[float]], wanted: object) -> list[float]:
    return METRICS[name].score(torch.tensor(output), torch.tensor(wanted)).tolist()


def test_top1_is_right_where_the_highest_output_is_the_label() -> None:
    assert scores("top1", [[1, 3, 2], [5, 0, 0], [0, 1, 2]], [1, 1, 2]) == [1, 0, 1]


def test_top5_is_right_where_the_label_is_among_the_five_highest() -> None:
    output = [[6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]] * 3

    assert scores("top5", output, [0, 4, 5]) == [1, 1, 0]


def test_top5_of_three_classes_takes_all_of_them() -> None:
    assert scores("top5", [[1, 2, 3]], [0]) == [1]


def test_outputs_that_are_all_equal_are_not_all_right() -> None:
    assert sum(scores("top1", [[0.0] * 4] * 4, [0, 1, 2, 3])) == 1


def test_outputs_that_are_not_finite_are_wrong() -> None:
    nan, inf = float("nan"), float("inf")

    assert scores("top1", [[nan, 0, 1], [0, inf, 0], [nan, nan, nan]], [2, 1, 0]) == [0, 0, 0]
    assert scores("agreement", [[nan, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]) == [0, 1]


def test_mse_is_the_mean_over_a_sample_s_outputs() -> None:
    assert scores("mse", [[1, 2], [3, 3]], [[1.0, 4.0], [0.0, 3.0]]) == [2.0, 4.5]


def test_agreement_asks_for_the_same_highest_output() -> None:
    assert scores("agreement", [[1, 2], [2, 1]], [[0.0, 9.0], [0.0, 9.0]]) == [1, 0]


def test_agreement_of_a_single_output_asks_for_its_sign() -> None:
    assert scores("agreement", [[0.3], [-0.2]], [[5.0], [0.1]]) == [1, 0]


def test_top1_of_outputs_that_are_no_class_scores_is_refused() -> None:
    with pytest.raises(DataError, match="one score for each class, but the model gives 3×4×4 values"):
        METRICS["top1"].score(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))


def test_mse_of_labels_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="a label holds 1 values, the model gives 3"):
        METRICS["mse"].score(torch.zeros(2, 3), torch.zeros(2))


def test_the_kind_of_label_suggests_the_metric() -> None:
    assert default_metric(None) == "agreement"
    assert default_metric(np.array([1, 2])) == "top1"
    assert default_metric(np.array([0.5, 2])) == "mse"
    assert default_metric(np.array([[1, 0], [0, 1]])) == "mse"
