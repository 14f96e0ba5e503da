from itertools import product

import pytest
from PySide6.QtWidgets import QApplication

from studio.gui.theme import DARK, LIGHT, Colours, Scheme, Theme


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_is_readable_on_every_ground(colours: Colours):
    texts = (colours.text, colours.muted, colours.good, colours.warn, colours.bad, colours.energy)
    grounds = (colours.window, colours.base, colours.raised)
    worst = min(contrast(text, ground) for text, ground in product(texts, grounds))
    assert worst >= 4.5
    assert contrast(colours.on_accent, colours.accent) >= 4.5
    assert contrast(colours.text, colours.selection) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_curves_stand_out_from_their_ground(colours: Colours):
    assert min(contrast(curve, colours.base) for curve in (colours.original, colours.compressed)) >= 3.0


def test_switching_the_theme_recolours_the_application_once(qapp: QApplication, qtbot):
    theme = Theme(qapp, Scheme.LIGHT)
    changes = []
    theme.changed.connect(lambda: changes.append(theme.is_dark))
    theme.choose(Scheme.DARK)
    assert changes == [True]
    assert qapp.palette().window().color().name() == DARK.window
    theme.choose(Scheme.LIGHT)
    assert qapp.palette().window().color().name() == LIGHT.window
