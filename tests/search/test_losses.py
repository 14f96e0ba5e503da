"""What settings are expected to cost, and what can be done to a layer."""

from math import sqrt

import pytest

from studio.evaluation.expected_drop import ExpectedDrop
from studio.evaluation.sensitivity import Scan
from studio.models.layer import Layer, ModelInfo
from studio.recipe.settings import ChannelSettings, LayerSettings, QuantizeSettings, RankSettings
from studio.search.losses import USELESS, LayerLoss
from studio.search.options import options_of, spent_by
from studio.search.target import METERS
from tests.search.conftest import bits, point, rank, zeros


def in_bytes(layer: Layer, settings: LayerSettings) -> float:
    return spent_by(layer, settings, METERS["size"])


def in_nonzeros(layer: Layer, settings: LayerSettings) -> float:
    return spent_by(layer, settings, METERS["nonzeros"])


@pytest.fixture
def loss(scan: Scan) -> LayerLoss:
    return LayerLoss(scan.of("a"))


def test_distortions_of_combined_methods_add_up(loss: LayerLoss):
    both = LayerSettings(quantize=bits(4).quantize, rank=rank(0.5).rank, prune=zeros(0.3).prune)
    assert loss(both) == pytest.approx(1e-3 + 8e-3 + 1e-3)
    assert loss(LayerSettings()) == 0.0


def test_between_two_points_the_logarithm_is_straight(loss: LayerLoss):
    assert loss(rank(0.625)) == pytest.approx(sqrt(2e-3 * 8e-3))
    assert loss(rank(0.875)) == pytest.approx(2e-3 / sqrt(4))  # as between 50 and 75 %
    assert loss(zeros(0.6)) == pytest.approx(sqrt(3e-3 * 2e-2))


def test_what_was_not_scanned_is_not_known(scan: Scan):
    only_bits = LayerLoss(p for p in scan.of("a") if p.method == "quantize")
    assert only_bits(rank(0.5)) is None
    assert LayerLoss(scan.of("a"))(LayerSettings(channels=ChannelSettings(ratio=0.1))) is None
    assert LayerLoss(scan.of("a"))(LayerSettings(rank=RankSettings(rank=3))) is None


def test_nothing_is_worse_than_useless(info: ModelInfo):
    loss = LayerLoss([point(info.layers[0], "quantize", bits(3), 1e9)])
    assert loss(bits(3)) == USELESS


def test_options_spend_ever_more_and_lose_ever_less(info: ModelInfo, scan: Scan):
    options = options_of(info.layers[0], scan.of("a"), in_bytes)
    spent, losses = [one.spent for one in options], [one.loss for one in options]
    assert spent == sorted(set(spent))
    assert losses == sorted(set(losses), reverse=True)
    assert options[-1].settings.normalised() == LayerSettings()
    assert all(one.settings.prune is None for one in options)  # zeros are stored: they save no byte
    assert all(one.settings.quantize is None or one.settings.quantize.weight_bits != 3 for one in options)


def test_zeros_count_where_weights_that_are_not_zero_do(info: ModelInfo, scan: Scan):
    options = options_of(info.layers[0], scan.of("a"), in_nonzeros)
    assert any(one.settings.prune is not None and one.settings.rank is not None for one in options)
    assert all(one.settings.quantize is None for one in options)


def test_a_layer_that_was_not_scanned_stays_as_it_is(info: ModelInfo):
    (only,) = options_of(info.layers[0], (), in_bytes)
    assert only.settings == LayerSettings()
    assert only.spent == info.layers[0].bytes


def test_the_expected_drop_never_falls_with_the_distortion(info: ModelInfo):
    layer, setting = info.layers[0], LayerSettings(quantize=QuantizeSettings())
    drops = {0.01: 1.0, 0.02: 3.0, 0.03: 1.0, 0.04: 5.0}
    points = [
        point(layer, "quantize", setting, distortion).model_copy(update={"drop": drop})
        for distortion, drop in drops.items()
    ]
    expected = ExpectedDrop(points)
    assert [expected(d) for d in (0.0, 0.01, 0.02, 0.03, 0.04)] == pytest.approx([0, 1, 2, 2, 5])
    assert expected(0.005) == pytest.approx(0.5)
    assert expected(9.0) == pytest.approx(5)
