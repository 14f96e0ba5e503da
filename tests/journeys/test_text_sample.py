"""The built-in transformer in the window: its metric is a perplexity, which a compressed layer raises."""

from pathlib import Path

import pytest
import yaml
from pytestqt.qtbot import QtBot

from studio.gui.main_window import MainWindow
from studio.recipe.settings import QuantizeSettings
from studio.resources import Sample
from studio.session.preview import PreviewState

LONG = 120_000


@pytest.fixture
def short(text_sample: Sample, tmp_path: Path) -> str:
    """Four windows of the sample's test text, described as it is."""
    fields = yaml.safe_load(text_sample.test.read_text(encoding="utf-8"))
    whole = text_sample.test.with_name(fields["source"]).read_text(encoding="utf-8")
    (tmp_path / fields["source"]).write_text(whole[: 4 * 128 + 1], encoding="utf-8")
    form = tmp_path / "short.data.yaml"
    form.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return str(form)


def test_the_start_page_offers_both_samples(window: MainWindow):
    assert [button.text() for button in window.start_page.sample_buttons] == [
        "Handwritten digits",
        "Text, letter by letter",
    ]


def test_two_bits_raise_the_perplexity_which_is_told_without_points(
    window: MainWindow, qtbot: QtBot, text_sample: Sample, short: str
):
    session = window._session
    session.open_model(str(text_sample.model), test=short)

    def measured() -> bool:
        return session.preview.status.state is PreviewState.MEASURED and session.preview.result is not None

    qtbot.waitUntil(measured, timeout=LONG)
    two = QuantizeSettings(weight_bits=2, granularity="group", group_size=32)
    session.edit_layers(["blocks.2.project"], "2 bits", quantize=two)
    session.finish_edit()
    qtbot.waitUntil(measured, timeout=LONG)
    result, card = session.preview.result, window.summary.accuracy
    assert result is not None
    assert result.drop is not None
    assert result.drop.value > 0
    assert card.caption.text().startswith("Perplexity  ·  ")
    assert card.detail.text().startswith("+")
    assert "points" not in card.detail.text()
    qtbot.waitUntil(lambda: session.drops.of(session.project, "blocks.2.project") is not None, timeout=LONG)
