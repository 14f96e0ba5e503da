"""Scores of single samples, counted by hand."""

import numpy as np
import pytest
import torch

from studio.errors import DataError
from studio.evaluation.metrics import METRICS, SINGLE, default_metric


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


def test_mae_is_the_mean_distance_over_a_sample_s_outputs() -> None:
    assert scores("mae", [[1, 2], [3, 3]], [[1.0, 4.0], [0.0, 3.0]]) == [1.0, 1.5]


def test_cosine_is_one_along_the_target_and_minus_one_against_it() -> None:
    found = scores("cosine", [[2, 0], [0, -3], [1, 1], [0, 0]], [[1.0, 0], [0, 1], [1, 0], [1, 0]])

    assert found == pytest.approx([1, -1, 0.5**0.5, 0])


def test_perplexity_is_e_to_the_mean_surprise_of_all_tokens_that_count() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75]], [[0.9, 0.1], [0.2, 0.8]]]))
    labels = torch.tensor([[0, 1], [1, -100]])

    found = METRICS["perplexity"].score(logits, labels).numpy()
    value, low, high = METRICS["perplexity"].summary.value(found)

    surprise = -np.log([0.5, 0.75, 0.1])
    assert found[:, 0] == pytest.approx([surprise[:2].sum(), surprise[2]], rel=1e-6)
    assert found[:, 1].tolist() == [2, 1]
    assert value == pytest.approx(np.exp(surprise.mean()), rel=1e-6)
    assert low <= value <= high


def test_labels_that_are_not_one_for_each_token_are_refused() -> None:
    with pytest.raises(DataError, match="the labels are 4 for each sample, but the model gives 3×7"):
        METRICS["perplexity"].score(torch.zeros(2, 3, 7), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(DataError, match="there is a label 9, but the vocabulary has 7"):
        METRICS["perplexity"].score(torch.zeros(1, 1, 7), torch.tensor([[9]]))
    with pytest.raises(DataError, match=r"label -1.*that do not count have -100"):
        METRICS["perplexity"].score(torch.zeros(1, 2, 7), torch.tensor([[3, -1]]))


def test_agreement_of_texts_and_pixel_maps_counts_every_token_and_pixel() -> None:
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    pixels = torch.zeros(1, 3, 2, 2)
    pixels[:, 2] = 1
    other = pixels.clone()
    other[0, 0, 0, 0] = 2

    assert METRICS["agreement"].score(text, text.flip(1)).tolist() == [[3, 3]]
    assert METRICS["agreement"].score(text, text.roll(1, 1)).tolist() == [[1, 3]]
    assert METRICS["agreement"].score(other, pixels).tolist() == [[3, 4]]


def test_the_area_under_the_curve_counts_pairs_in_the_right_order() -> None:
    output, labels = torch.tensor([[0.1], [0.4], [0.35], [0.8], [0.4]]), torch.tensor([0, 0, 1, 1, 1])

    value, low, high = METRICS["auroc"].summary.value(METRICS["auroc"].score(output, labels).numpy())

    # pairs (positive, negative): 0.35 beats 0.1 of two, 0.8 both, 0.4 one and ties with the other
    assert value == pytest.approx(100 * (1 + 2 + 1.5) / 6)
    assert 0 <= low < value < high <= 100


def test_the_interval_of_an_area_and_of_a_paired_drop_are_delong_s() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 40])
    first, second = (random.normal(size=100) + labels * shift for shift in (1.0, 0.7))

    def components(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """V10 and V01 of DeLong et al. 1988, pair by pair."""
        above = (score[labels == 1][:, None] > score[labels == 0][None]).astype(float)
        return above.mean(1), above.mean(0)

    def half_width(v10: np.ndarray, v01: np.ndarray) -> float:
        return 196 * 0.99998 * np.sqrt(v10.var(ddof=1) / 40 + v01.var(ddof=1) / 60)

    (a10, a01), (b10, b01) = components(first), components(second)
    rows = [np.stack([score, labels], 1) for score in (first, second)]
    value, low, high = METRICS["auroc"].summary.value(rows[0])
    gain, lower, upper = METRICS["auroc"].summary.gain(*rows)

    assert (value, (high - low) / 2) == pytest.approx((100 * a10.mean(), half_width(a10, a01)), rel=1e-4)
    assert gain == pytest.approx(100 * (a10.mean() - b10.mean()))
    assert (upper - lower) / 2 == pytest.approx(half_width(a10 - b10, a01 - b01), rel=1e-4)


def test_several_classes_are_each_ranked_against_the_rest() -> None:
    output, labels = torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 2])

    value, *_ = METRICS["auroc"].summary.value(METRICS["auroc"].score(output, labels).numpy())

    # class 0: 1 above two, tied with one: 2.5 of 3; class 1: all; class 2: one above, one tied: 1 + 0.5
    assert value == pytest.approx(100 * np.mean([2.5 / 3, 1, 0.75]))


def test_a_perfect_ranking_of_few_samples_is_not_certain() -> None:
    rows = np.array([[0.1, 0], [0.2, 0], [0.8, 1], [0.9, 1]])

    value, low, high = METRICS["auroc"].summary.value(rows)

    assert (value, high) == (100, 100)
    assert low < 20


def test_samples_of_one_class_have_no_ranking() -> None:
    with pytest.raises(DataError, match="of one class"):
        METRICS["auroc"].summary.value(np.array([[0.1, 0], [0.2, 0]]))


def test_the_kind_of_label_and_of_output_suggest_the_metric() -> None:
    assert default_metric(None) == "agreement"
    assert default_metric(np.array([1, 2])) == "top1"
    assert default_metric(np.array([1, 0]), SINGLE) == "auroc"
    assert default_metric(np.array([0.5, 2])) == "mse"
    assert default_metric(np.array([[1, 0], [0, 1]]), 2) == "mse"
    assert default_metric(np.array([[1, 0], [0, 1]]), 3) == "perplexity"
