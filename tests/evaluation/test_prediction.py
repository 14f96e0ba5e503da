"""Predictions from a scan against sums by hand."""

from dataclasses import replace
from math import inf

import pytest

from studio.evaluation.prediction import Curves, Estimate
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.models.layer import METHODS, OK, Layer, Share
from studio.recipe.factorization import Factorization
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings


def bits(count: int) -> LayerSettings:
    return LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": count}))


def zeros(ratio: float) -> LayerSettings:
    return LayerSettings(prune=PruneSettings(ratio=ratio))


def point(layer: str, method: str, settings: LayerSettings, drop: float, half: float) -> ScanPoint:
    return ScanPoint(
        layer=layer, method=method, setting="", settings=settings, bytes=400, macs=768, metric="top1", value=90 - drop,
        low=80.0, high=99.0, samples=128, drop=drop, drop_low=drop - half, drop_high=drop + half, distortion=drop / 100,
    )  # fmt: skip


@pytest.fixture
def curves() -> Curves:
    points = (
        point("a", "quantize", bits(4), 2.0, 0.4),
        point("a", "quantize", bits(8), 0.2, 0.2),
        point("a", "prune", zeros(0.5), 1.0, 0.3),
        point("a", "channels", LayerSettings(channels=ChannelSettings(ratio=0.25)), 1.5, 0.3),
        point("a", "channels", LayerSettings(channels=ChannelSettings(ratio=0.5)), 3.0, 0.6),
        point("b", "rank", LayerSettings(rank=RankSettings(parameters=0.5)), 4.0, 1.0),
    )
    return Curves(Scan(key="k", points=points))


LAYERS = {
    name: Layer(name, "linear", (32, 24), 1, True, 800, 3200, 768, dict.fromkeys(METHODS, OK)) for name in ("a", "b")
}


def close(estimate: Estimate, drop: float, spread: float) -> bool:
    return estimate.drop == pytest.approx(drop) and estimate.spread == pytest.approx(spread)


def test_a_strength_between_two_points_is_read_straight_between_them(curves: Curves):
    assert close(curves.predict(LAYERS, {"a": zeros(0.25)}, {}).whole, 0.5, 0.15)  # nothing is lost at 0 %
    assert close(curves.predict(LAYERS, {"a": bits(4)}, {}).whole, 2.0, 0.4)


def test_methods_and_layers_add_up_and_their_errors_as_if_independent(curves: Curves):
    both = zeros(0.5).model_copy(update={"quantize": bits(8).quantize})
    found = curves.predict(LAYERS, {"a": both, "b": LayerSettings(rank=RankSettings(parameters=0.75))}, {})
    assert close(found.layers["a"], 1.2, (0.3**2 + 0.2**2) ** 0.5)
    assert close(found.layers["b"], 2.0, 0.5)
    assert close(found.whole, 3.2, (0.3**2 + 0.2**2 + 0.5**2) ** 0.5)
    assert (found.unknown, found.metric) == ((), "top1")


def test_a_rank_is_read_by_the_weights_that_it_leaves(curves: Curves):
    # 12 · (32 + 24) = 672 of 768 weights
    by_rank = curves.predict(LAYERS, {"b": LayerSettings(rank=RankSettings(rank=12))}, {})
    assert by_rank.whole.drop == pytest.approx(4.0 * (1 - 672 / 768) / 0.5)
    energy = {"b": LayerSettings(rank=RankSettings(energy=0.9))}
    assert curves.predict(LAYERS, energy, {}).unknown == ("b: rank",)
    split = {"b": Factorization("matrix", (12,))}
    assert curves.predict(LAYERS, energy, split).whole.drop == pytest.approx(by_rank.whole.drop)


def test_beyond_what_was_scanned_it_may_be_worse(curves: Curves):
    found = curves.predict(LAYERS, {"a": zeros(0.9)}, {}).whole
    assert (found.drop, found.at_least) == (1.0, True)
    assert not curves.predict(LAYERS, {"a": zeros(0.5)}, {}).whole.at_least


def test_channels_count_once_for_all_layers_that_lose_them(curves: Curves):
    shared = (Share("a", 0, 32, 1),)
    layers = {name: replace(layer, outputs=shared) for name, layer in LAYERS.items()}
    half = LayerSettings(channels=ChannelSettings(ratio=0.5))
    both = half.model_copy(update={"rank": RankSettings(parameters=0.5)})
    found = curves.predict(layers, {"b": both, "a": half}, {})
    assert found.layers.keys() == {"b"}
    assert close(found.whole, 3.0 + 4.0, (0.6**2 + 1.0**2) ** 0.5)
    assert close(curves.predict(layers, {"a": half}, {}).whole, 3.0, 0.6)


def test_drops_that_chance_has_put_in_the_wrong_order_are_pooled_by_their_distortion():
    points = (
        point("a", "prune", zeros(0.3), 2.0, 0.6).model_copy(update={"distortion": 0.01}),
        point("a", "prune", zeros(0.5), 1.0, 0.8).model_copy(update={"distortion": 0.02}),
    )
    curves = Curves(Scan(key="k", points=points))
    for ratio in (0.3, 0.5):  # of 128 samples each: their mean, with half of the root of 0.6² + 0.8²
        assert close(curves.predict(LAYERS, {"a": zeros(ratio)}, {}).whole, 1.5, 0.5)


def test_a_drop_beyond_all_numbers_tells_nothing_of_other_layers():
    beyond = {"drop": inf, "drop_low": -inf, "drop_high": inf, "distortion": 0.005}
    broken = point("b", "prune", zeros(0.5), 0.5, 0.0).model_copy(update=beyond)
    curves = Curves(Scan(key="k", points=(point("a", "prune", zeros(0.5), 1.0, 0.0), broken)))
    assert close(curves.predict(LAYERS, {"a": zeros(0.5)}, {}).whole, 1.0, 0.0)


def test_what_the_scan_does_not_know_is_named(curves: Curves):
    settings = {"a": LayerSettings(rank=RankSettings(rank=3)), "b": bits(4)}
    found = curves.predict(LAYERS, settings, {})
    assert found.unknown == ("a: rank", "b: quantize")
    assert found.whole == Estimate(0.0, 0.0)
