"""What each method could save, counted by hand."""

from dataclasses import replace

import pytest

from studio.evaluation.feasibility import Harmless, feasibility
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.models.layer import METHODS, OK, Layer, ModelInfo, Share, TensorSpec
from studio.recipe.cost import layer_cost
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings

EIGHT = LayerSettings(quantize=QuantizeSettings(weight_bits=8))
METHODS_OF_B = {**dict.fromkeys(METHODS, OK), "rank": "too thin"}


def layer(name: str, methods: dict[str, str]) -> Layer:
    return Layer(name, "linear", (32, 24), 1, True, 800, 3200, 768, methods)


def model() -> ModelInfo:
    spec = (TensorSpec("x", "float32", (None, 24)),)
    layers = (layer("a", dict.fromkeys(METHODS, OK)), layer("b", METHODS_OF_B))
    return ModelInfo("m.onnx", "onnx", "f" * 64, spec, spec, layers, 1600, 7000, 1536)


def point(name: str, method: str, size: int, macs: int, distortion: float) -> ScanPoint:
    return ScanPoint(
        layer=name, method=method, setting=str(size), settings=EIGHT, bytes=size, macs=macs, metric="top1", value=88.0,
        low=87.0, high=89.0, samples=128, drop=0.0, drop_low=-1.0, drop_high=1.0, distortion=distortion,
    )  # fmt: skip


def test_without_a_scan_only_8_bit_weights_are_expected_to_be_harmless():
    quantize, prune, rank, channels = feasibility(model())
    assert quantize.bytes_saved == 2 * (3200 - layer_cost(model().layers[0], EIGHT).bytes)
    assert (prune.bytes_saved, rank.bytes_saved, channels.bytes_saved) == (None, None, None)
    assert (rank.eligible, rank.refused) == (("a",), {"b": "too thin"})


def test_with_a_scan_the_smallest_harmless_setting_of_each_layer_counts():
    points = (
        point("a", "quantize", 900, 768, 1e-5),
        point("a", "quantize", 500, 768, 1e-4),
        point("a", "quantize", 400, 768, 1e-1),
        point("b", "quantize", 900, 768, 0.5),
        point("a", "rank", 2000, 400, 1e-4),
        point("a", "prune", 3200, 768, 1e-6),
    )
    quantize, prune, rank, _ = feasibility(model(), Scan(key="k", points=points))
    assert (quantize.bytes_saved, quantize.macs_saved) == (2700, 0)
    assert (rank.bytes_saved, rank.macs_saved) == (1200, 368)
    assert (prune.bytes_saved, prune.macs_saved) == (0, 0)


def test_channels_of_two_groups_save_of_the_layer_between_them_once():
    methods = dict.fromkeys(METHODS, OK)
    one, two = (Share(name, 0, size, 1) for name, size in (("a", 24), ("b", 32)))
    first = Layer("a", "linear", (24, 8), 1, False, 192, 768, 192, methods, (one,))
    middle = Layer("b", "linear", (32, 24), 1, False, 768, 3072, 768, methods, (two,), (one,))
    last = Layer("c", "linear", (4, 32), 1, False, 128, 512, 128, methods, (), (two,))
    info = replace(model(), layers=(first, middle, last))
    points = [
        point(name, "channels", 1, 1, distortion).model_copy(
            update={"settings": LayerSettings(channels=ChannelSettings(ratio=ratio))}
        )
        for name, ratio, distortion in (("a", 0.25, 1e-5), ("a", 0.5, 1e-4), ("a", 0.75, 0.1), ("b", 0.5, 1e-4))
    ]
    *_, channels = feasibility(info, Scan(key="k", points=tuple(points)))
    # 12 rows of a with 8 weights each, of b all but 16 rows of 12, half of c
    assert channels.macs_saved == 96 + (768 - 192) + 64
    assert channels.bytes_saved == pytest.approx(4 * (96 + 576 + 64), abs=8)


def test_what_the_weights_tell_is_counted_by_shapes_and_a_scan_goes_before_it():
    thin, half = LayerSettings(rank=RankSettings(rank=4)), LayerSettings(prune=PruneSettings(ratio=0.5))
    found = Harmless({"rank": {"a": thin}, "prune": {"a": half, "b": half}})
    quantize, prune, rank, channels = feasibility(model(), found=found)
    assert (quantize.harmless, quantize.bytes_saved) == ({}, 0)
    assert rank.bytes_saved == 3200 - layer_cost(model().layers[0], thin).bytes
    assert rank.macs_saved == 768 - 4 * (32 + 24)
    assert (prune.bytes_saved, prune.zeros) == (0, 2 * 384)
    assert (channels.bytes_saved, channels.harmless) == (0, {})
    points = (point("a", "rank", 2000, 400, 1e-4),)
    measured = feasibility(model(), Scan(key="k", points=points), found)[2]
    assert (measured.bytes_saved, measured.measured) == (1200, True)
    told = feasibility(model(), Scan(key="k", points=points), found)[1]
    assert (told.zeros, told.measured) == (2 * 384, False)


def test_a_setting_that_leaves_a_layer_larger_is_not_counted():
    whole = LayerSettings(rank=RankSettings(rank=24))
    rank = feasibility(model(), found=Harmless({"rank": {"a": whole}}, {"rank": ("a",)}))[2]
    assert (rank.harmless, rank.bytes_saved, rank.unseen) == ({}, 0, ("a",))
