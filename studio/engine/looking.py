"""Answers that go through all layers of an opened model, with what its weights alone tell."""

from collections.abc import Mapping
from contextlib import closing

from torch import Tensor

from studio.analysis.side_by_side import side_by_side
from studio.analysis.spectrum_cache import remembered_spectrum
from studio.analysis.views import Spectrum
from studio.engine.door import Publish
from studio.engine.requests import FindHarmless, ViewSpectra
from studio.errors import ModelFileError
from studio.evaluation.feasibility import Harmless
from studio.evaluation.harmless import find_harmless
from studio.models.model import Model, weight_matrix
from studio.progress import Progress, Report


def answer_looking(
    request: ViewSpectra | FindHarmless, model: Model, report: Report, publish: Publish
) -> Mapping[str, Spectrum] | Harmless:
    """Looks at the layers of `model` as `request` asks."""
    if isinstance(request, ViewSpectra):
        return _spectra(model, request.reach, report, publish)
    return find_harmless(model, report)


def spectrum_of(model: Model, layer: str, reach: float) -> Spectrum:
    """Singular values of one layer; see `studio.engine.requests.ViewSpectrum`.

    Raises:
        ModelFileError: its weights are not finite.
    """
    return remembered_spectrum(_matrix(model, layer), reach)


def _matrix(model: Model, layer: str) -> Tensor:
    matrix = weight_matrix(model.module(layer))
    if not matrix.isfinite().all():
        raise ModelFileError(f"{layer}: it holds weights that are not finite, which have no singular values.")
    return matrix


def _spectra(model: Model, reach: float, report: Report, publish: Publish) -> Mapping[str, Spectrum]:
    """Singular values of all layers; see `ViewSpectra`."""
    spectra = dict[str, Spectrum]()
    layers = sorted(model.info.layers, key=lambda layer: layer.bytes, reverse=True)
    matrices = [_matrix(model, layer.name) for layer in layers]
    report(Progress(0, len(layers), "Singular values"))
    found = side_by_side(matrices, lambda matrix: remembered_spectrum(matrix, reach))
    with closing(found):
        for layer, spectrum in zip(layers, found, strict=True):
            spectra[layer.name] = spectrum
            publish((layer.name, spectrum))
            report(Progress(len(spectra), len(layers), f"Singular values of {layer.name}"))
    return spectra
