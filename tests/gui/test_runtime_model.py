"""The window with a model that ONNX Runtime alone runs: it is measured, and what there is not says why."""

from dataclasses import replace

import pytest

from studio.engine.requests import Preview
from studio.recipe.settings import QuantizeSettings
from tests.gui import conftest

REASON = "it runs in ONNX Runtime alone: the ONNX operator If (node 'gate') is not supported"


@pytest.fixture
def opened(window, session, monkeypatch):
    plain = conftest.model_info()
    lacks = dict.fromkeys(("fit", "train"), REASON)
    monkeypatch.setattr(
        conftest, "model_info", lambda path=plain.path: replace(plain, path=path, runtime=True, lacks=lacks)
    )
    session.open_model("/models/gated.onnx", test="digits_test.data.yaml")
    return window


def test_its_accuracy_is_measured_and_its_operations_are_not_known(opened, session, engine):
    session.edit_layers(["head"], "8 bits", quantize=QuantizeSettings(weight_bits=8))
    asked = [request for request in engine.asked if isinstance(request, Preview)]
    assert asked[-1].data == "digits_test.data.yaml"
    assert asked[-1].source.calibration is None
    assert {request.source.recipe.options.fit for request in asked} == {"layer"}
    bar = opened.summary
    assert bar.accuracy.value.text().startswith("98.40 %")
    assert (bar.operations.value.text(), bar.operations.detail.text()) == ("–", "not known")


def test_what_cannot_be_done_says_why(opened):
    actions = opened.actions_table.by_name
    assert not actions["train_data"].isEnabled()
    assert "It runs in ONNX Runtime alone" in actions["train_data"].toolTip()
    assert all(actions[name].isEnabled() for name in ("search", "latency", "export"))
    why = opened._session.searches.why_not(opened._session.project, "macs")
    assert why == f"how often each weight is used is not known: {REASON}."
    assert opened.data.train.text() == f"Not fitted to data: {REASON}"
