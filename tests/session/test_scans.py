"""Layer scans in the session: points as they come, and kept with the project."""

from pathlib import Path
from typing import Any

import pytest

from studio.engine.requests import ScanLayers
from studio.evaluation.sensitivity import Scan, ScanPoint, save_scan
from studio.recipe.settings import LayerSettings, QuantizeSettings
from studio.session.jobs import JobState
from studio.session.project import Choice
from studio.session.session import Session

POINT = ScanPoint(
    layer="a", method="quantize", setting="4 bit", settings=LayerSettings(quantize=QuantizeSettings(weight_bits=4)),
    bytes=400, macs=768, metric="top1", value=88.0, low=87.0, high=89.0, samples=128,
    drop=2.0, drop_low=1.0, drop_high=3.0, distortion=0.01,
)  # fmt: skip


@pytest.fixture
def with_data(session: Session, info: Any, tmp_path: Path) -> Session:
    for name in ("test", "train"):
        (tmp_path / f"{name}.data.yaml").touch()
    session.open_model(info.path, test=str(tmp_path / "test.data.yaml"), train=str(tmp_path / "train.data.yaml"))
    return session


def test_points_are_there_as_they_come_and_the_whole_scan_at_the_end(with_data: Session, engines: list[Any]):
    told = list[str]()
    with_data.scans.changed.connect(told.append)
    job = with_data.scan()
    asked = engines[-1].of(ScanLayers)[0]
    asked.publish(POINT)
    assert with_data.scans.scan is not None
    assert with_data.scans.scan.of("a") == (POINT,)
    asked.publish(POINT.model_copy(update={"drop": 3.0}))  # of the same candidate
    assert with_data.scans.worst == {"a": 2.0}
    second = POINT.model_copy(update={"layer": "b"})
    asked.answer(Scan(key=with_data.scans.scan.key, points=(POINT, second)))
    assert (job.state, told) == (JobState.DONE, ["", "a", ""])
    assert with_data.scans.scan.of("b") == (second,)
    assert (with_data.scans.worst, with_data.scans.largest) == ({"a": 2.0, "b": 2.0}, 2.0)


def test_a_scan_is_there_again_after_opening(with_data: Session, engines: list[Any], info: Any, tmp_path: Path):
    with_data.scan()
    asked = engines[-1].of(ScanLayers)[0]
    assert with_data.scans.scan is not None
    save_scan(with_data.scans.scan.with_point(POINT), Path(asked.request.keep))
    again = Session(with_data.jobs._engines, tmp_path / "studio", lambda action: action())
    again.open_model(info.path, test=str(tmp_path / "test.data.yaml"), train=str(tmp_path / "train.data.yaml"))
    assert again.scans.scan is not None
    assert again.scans.scan.points == (POINT,)
    again.scan()
    assert engines[-1].of(ScanLayers)[0].request.keep == asked.request.keep


def test_points_of_a_project_that_is_no_longer_open_are_not_shown(
    with_data: Session, engines: list[Any], tmp_path: Path
):
    with_data.scan()
    asked = engines[-1].of(ScanLayers)[0]
    (tmp_path / "other.data.yaml").touch()
    with_data.set_data(test=str(tmp_path / "other.data.yaml"))
    asked.publish(POINT)
    assert with_data.scans.scan is None


def test_other_options_have_a_scan_of_their_own_and_undo_brings_the_first_back(with_data: Session, engines: list[Any]):
    with_data.scan()
    asked = engines[-1].of(ScanLayers)[0]
    assert with_data.scans.scan is not None
    save_scan(with_data.scans.scan.with_point(POINT), Path(asked.request.keep))
    asked.publish(POINT)
    with_data.edit_options("In the layer fit", fit="layer")
    assert with_data.scans.worst == {"a": 2.0}
    with_data.edit_options("Without data", data_aware=False)
    assert with_data.scans.scan is None
    with_data.undo()
    assert with_data.scans.worst == {"a": 2.0}


def test_another_model_does_not_show_the_points_of_the_one_before(
    with_data: Session, engines: list[Any], tmp_path: Path
):
    with_data.scan()
    engines[-1].of(ScanLayers)[0].publish(POINT)
    assert with_data.scans.scan is not None
    with_data.open_model(str(tmp_path / "another.onnx"))
    assert with_data.scans.scan is None


def test_a_paused_scan_goes_on_with_the_same_file(with_data: Session, engines: list[Any]):
    job = with_data.scan()
    first = engines[-1].of(ScanLayers)[0].request
    assert job.can_pause
    assert job.resumption == first


def test_a_choice_is_predicted_at_once_from_the_scan_and_never_for_trained_weights(with_data: Session):
    project = with_data.project
    assert project is not None
    assert with_data.predictions.of(project) is None
    with_data.scans.scan = Scan(key="", points=(POINT,))
    assert with_data.predictions.of(project) is None  # nothing is changed
    with_data.edit_layers(["a"], "Quantize", quantize=QuantizeSettings(weight_bits=4))
    expected = with_data.predictions.of(project)
    assert expected is not None
    assert (expected.whole.drop, expected.whole.spread) == (2.0, 1.0)
    project.history.push(Choice(project.recipe, "/weights/trained"), "Distil")
    assert with_data.predictions.of(project) is None
