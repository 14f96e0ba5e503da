"""Histograms and error measures against values counted by hand."""

import math

import numpy as np
import pytest
import torch

from studio.analysis.statistics import weight_view


def test_an_unchanged_layer_has_no_second_histogram():
    view = weight_view(torch.tensor([[1.0, -1.0], [0.0, 0.5]]), None, bins=5)
    assert view.compressed is None
    assert view.sqnr_db is None
    assert view.output_error is None
    assert view.zeros == 0.25
    assert (view.low, view.high, view.mean) == (-1.0, 1.0, 0.125)
    assert view.std == pytest.approx(np.std([1, -1, 0, 0.5]))


def test_both_histograms_share_bins_that_centre_on_zero():
    view = weight_view(torch.tensor([[1.0, -0.4, 0.1, 0.3]]), torch.tensor([[1.0, -0.4, 0.0, 0.0]]), bins=5)
    np.testing.assert_allclose(view.edges, [-1, -0.6, -0.2, 0.2, 0.6, 1])
    np.testing.assert_array_equal(view.original, [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(view.compressed, [0, 1, 0, 0, 1])  # exact zeros are told by `zeros`
    assert view.zeros == 0.5


def test_noise_is_measured_against_the_signal():
    view = weight_view(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 4.5]]))
    assert view.sqnr_db == pytest.approx(20.0)  # 25 / 0.25 = 100
    assert view.output_error is None  # nothing is known of the inputs


def test_equal_weights_have_no_noise():
    view = weight_view(torch.ones(2, 3), torch.ones(2, 3))
    assert view.sqnr_db == math.inf
    assert view.original.sum() == 6


def test_every_weight_falls_into_a_bin():
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    view = weight_view(weight, weight * 1.5)
    assert view.original.sum() == 1200
    assert view.compressed is not None
    assert view.compressed.sum() == 1200
    assert len(view.edges) == 202


def test_the_output_error_weighs_weights_by_their_inputs():
    moment = torch.diag(torch.tensor([4.0, 0.25]))  # the first input is four times as large as the second
    view = weight_view(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]]), moment)
    assert view.output_error == pytest.approx(math.sqrt(0.25 / (9 * 4 + 16 * 0.25)))


def test_the_output_error_of_grouped_layers_is_that_of_all_groups_together():
    moments = torch.tensor([[[1.0]], [[9.0]]])
    view = weight_view(torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [1.0]]), moments)
    assert view.output_error == pytest.approx(math.sqrt(1 / 10))
