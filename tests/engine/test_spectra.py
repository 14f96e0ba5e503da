"""All spectra of a model in one request."""

import numpy as np

from studio.engine.door import Lane
from studio.engine.inline import InlineEngine
from studio.engine.requests import OpenModel, ViewSpectra, ViewSpectrum
from studio.resources import Sample


def test_all_spectra_come_one_by_one_with_the_largest_layers_first(digits: Sample):
    engine, seen = InlineEngine(), []
    info = engine.start(OpenModel(str(digits.model))).result()
    whole = engine.start(ViewSpectra(str(digits.model)), lane=Lane.BACKGROUND, publish=seen.append).result()
    assert [name for name, _ in seen] == list(whole)
    sizes = [info.layer(name).bytes for name in whole]
    assert sizes == sorted((layer.bytes for layer in info.layers), reverse=True)
    alone = engine.start(ViewSpectrum(str(digits.model), "stem")).result()
    np.testing.assert_array_equal(whole["stem"].singular_values, alone.singular_values)
