"""Scanning layer by layer: the values of full evaluations, races, and scans that go on."""

from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest

from studio.engine.requests import Preview, ScanLayers, Source
from studio.engine.workspace import Workspace
from studio.errors import DataError, RecipeError
from studio.evaluation.candidates import candidates, left_out
from studio.evaluation.racing import NARROW, PLACED, RELATIVE, is_decided
from studio.evaluation.result import Measurement, Result, distortion_of
from studio.evaluation.sensitivity import Scan, ScanPoint, load_scan, save_scan
from studio.models.open import open_model
from studio.progress import Cancelled, Progress
from studio.recipe.cost import model_cost
from studio.recipe.recipe import Recipe
from studio.recipe.settings import Options
from studio.resources import Sample


@pytest.fixture(scope="module")
def asked(digits: Sample, tmp_path_factory: pytest.TempPathFactory) -> ScanLayers:
    layers = open_model(digits.model).info.layers
    recipe = Recipe(options=Options(calibration_samples=64, fit="layer"))
    keep = tmp_path_factory.mktemp("scan") / "scan.json"
    source = Source(str(digits.model), recipe, calibration=str(digits.train))
    return ScanLayers(source, str(digits.test), 256, 0, layers[-2].name, False, str(keep), channels=False)


@pytest.fixture(scope="module")
def exact(asked: ScanLayers) -> Scan:
    return Workspace().answer(asked)


def test_every_point_has_the_value_of_a_full_evaluation(asked: ScanLayers, exact: Scan):
    assert len(exact.points) == 9
    for point in exact.points:
        recipe = Recipe(options=asked.source.recipe.options).with_layer(point.layer, point.settings)
        result = Workspace().answer(Preview(replace(asked.source, recipe=recipe), asked.data, asked.samples))
        assert result.drop is not None
        assert (point.value, point.low, point.high) == (result.metric.value, result.metric.low, result.metric.high)
        assert (point.drop, point.drop_low, point.samples) == (result.drop.value, result.drop.low, 256)


def test_stronger_settings_of_a_method_distort_more_and_take_fewer_bytes(exact: Scan):
    for method in ("quantize", "prune", "rank"):
        curve = [point for point in exact.points if point.method == method]
        distortions = [point.distortion for point in curve]
        assert len(curve) == 3
        assert distortions == sorted(distortions)
        assert [p.bytes for p in curve] == sorted((p.bytes for p in curve), reverse=True)


def test_a_scan_that_was_stopped_goes_on_where_it_was(asked: ScanLayers, exact: Scan, tmp_path: Path):
    keep, seen = tmp_path / "scan.json", list[ScanPoint]()

    def stop(progress: Progress) -> None:
        if progress.done == 4:
            raise Cancelled

    request = replace(asked, keep=str(keep))
    with pytest.raises(Cancelled):
        Workspace().answer(request, report=stop)
    assert load_scan(keep).points == exact.points[:4]
    whole = Workspace().answer(request, publish=seen.append)  # type: ignore[arg-type]
    assert whole.points == exact.points
    assert tuple(seen) == exact.points[4:]


def test_a_file_of_another_scan_is_left_as_it_is(asked: ScanLayers, exact: Scan):
    assert asked.keep is not None
    before = Path(asked.keep).read_bytes()
    with pytest.raises(DataError, match="is a scan of another model, data or settings"):
        Workspace().answer(replace(asked, seed=1))
    assert Path(asked.keep).read_bytes() == before


def test_a_race_ends_as_soon_as_the_interval_decides(asked: ScanLayers, exact: Scan, tmp_path: Path):
    request = replace(asked, racing=True, samples=512, keep=str(tmp_path / "raced.json"))
    raced = Workspace().answer(request)
    assert [point.key for point in raced.points] == [point.key for point in exact.points]
    early = [point for point in raced.points if point.samples < 512]
    assert early
    for point in early:
        half = (point.drop_high - point.drop_low) / 2
        assert half <= max(NARROW, RELATIVE * abs(point.drop))


def result(value: float, half: float, name: str = "top1") -> Result:
    metric = Measurement(name, 90.0, 89.0, 91.0, 128)
    return Result(metric, metric, Measurement(name, value, value - half, value + half, 128), 1024, labelled=True)


def test_narrow_and_hopeless_drops_are_decided_and_others_are_not():
    assert is_decided(result(0.0, 1.0))
    assert not is_decided(result(2.0, 4.5))
    assert is_decided(result(40.0, 8.0))
    assert not is_decided(result(0.5, 0.4, "mse"))


def test_a_candidate_whose_place_the_distortion_does_not_tell_is_not_decided():
    assert is_decided(replace(result(0.0, 1.0), distortion_spread=PLACED))
    assert not is_decided(replace(result(0.0, 1.0), distortion_spread=1.1 * PLACED))


def test_rounding_activations_alone_has_the_value_of_a_full_evaluation(asked: ScanLayers, tmp_path: Path):
    keep = str(tmp_path / "scan.json")
    scan = Workspace().answer(replace(asked, activations=True, samples=128, keep=keep))
    point = scan.points[0]
    assert (point.method, point.setting, len(scan.points)) == ("activations", "8 bit", 10)
    assert point.settings.quantize is not None
    assert (point.settings.quantize.weight_bits, point.settings.quantize.activation_bits) == (16, 8)
    assert 0 < point.distortion < 0.01
    recipe = Recipe(options=asked.source.recipe.options).with_layer(point.layer, point.settings)
    result = Workspace().answer(Preview(replace(asked.source, recipe=recipe), asked.data, 128))
    assert result.metric.value == point.value
    assert distortion_of(result) == point.distortion


def test_a_saved_scan_is_read_as_it_was(exact: Scan, tmp_path: Path):
    save_scan(exact, tmp_path / "scan.json")
    assert load_scan(tmp_path / "scan.json") == exact
    (tmp_path / "scan.json").write_text("{}")
    with pytest.raises(DataError, match="is no scan"):
        load_scan(tmp_path / "scan.json")


def test_values_that_are_no_numbers_survive_the_file(exact: Scan, tmp_path: Path):
    """A layer may be rounded so coarsely that the perplexity is beyond all numbers."""
    broken = exact.points[0].model_copy(update={"value": inf, "drop": inf, "low": -inf, "drop_high": nan})
    save_scan(Scan(key="k", points=(broken,)), tmp_path / "scan.json")
    (found,) = load_scan(tmp_path / "scan.json").points
    assert (found.value, found.drop, found.low) == (inf, inf, -inf)
    assert isnan(found.drop_high)


def test_layers_are_tried_from_the_last_one_and_what_they_cannot_take_has_its_reason(digits: Sample):
    info = open_model(digits.model).info
    tried = candidates(info)
    assert tried[0].layer == info.layers[-1]
    missing = left_out(info)
    for layer in info.layers:
        methods = {one.method for one in tried if one.layer == layer}
        known = {"quantize", "prune", "rank"} | ({"channels"} if layer.group in (None, layer.name) else set())
        assert methods | missing.get(layer.name, {}).keys() == known
        assert not methods & missing.get(layer.name, {}).keys()


def test_channels_are_tried_once_a_group_and_none_that_a_skipped_layer_gives_or_takes(digits: Sample):
    info = open_model(digits.model).info

    def groups(**how: Any) -> list[str]:
        return [one.layer.name for one in candidates(info, **how) if one.method == "channels"]

    assert set(groups()) == {group.name for group in info.groups}
    assert len(groups()) == 3 * len(info.groups)
    assert not groups(channels=False)
    last = info.groups[-1]
    assert set(groups(skip=last.consumers[:1])) == {
        group.name for group in info.groups if last.consumers[0] not in (*group.members, *group.consumers)
    }


def test_channels_alone_have_the_value_and_the_bytes_of_the_whole_recipe(asked: ScanLayers, tmp_path: Path):
    info = open_model(Path(asked.source.model)).info
    group = info.groups[-1]
    request = replace(asked, layers=group.name, channels=True, samples=128, keep=str(tmp_path / "scan.json"))
    curve = Workspace().answer(request).of(group.name, "channels")
    assert [point.setting for point in curve] == ["12.5 %", "25 %", "50 %"]
    assert [point.macs for point in curve] == sorted((point.macs for point in curve), reverse=True)
    recipe = Recipe(options=asked.source.recipe.options).with_layer(group.name, curve[1].settings)
    result = Workspace().answer(Preview(replace(asked.source, recipe=recipe), asked.data, 128))
    assert (curve[1].value, curve[1].distortion) == (result.metric.value, distortion_of(result))
    cost = model_cost(info, recipe, {}, info.bytes)
    touched = [layer for layer in info.layers if layer.name in (*group.members, *group.consumers)]
    assert curve[1].macs - sum(layer.macs for layer in touched) == cost.macs - info.macs
    assert abs(curve[1].bytes - sum(layer.bytes for layer in touched) - (cost.bytes - info.bytes)) <= 1


def test_a_pattern_without_a_layer_is_refused(digits: Sample):
    with pytest.raises(RecipeError, match="matches no layer"):
        candidates(open_model(digits.model).info, "nothing*")
