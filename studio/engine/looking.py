"""Answers that go through all layers of an opened model, with what its weights alone tell."""

from collections.abc import Mapping

from studio.analysis.spectrum_cache import remembered_spectrum
from studio.analysis.views import Spectrum
from studio.engine.door import Publish
from studio.engine.requests import FindHarmless, ViewSpectra
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


def _spectra(model: Model, reach: float, report: Report, publish: Publish) -> Mapping[str, Spectrum]:
    """Singular values of all layers; see `ViewSpectra`."""
    spectra = dict[str, Spectrum]()
    for layer in sorted(model.info.layers, key=lambda layer: layer.bytes, reverse=True):
        report(Progress(len(spectra), len(model.info.layers), f"Singular values of {layer.name}"))
        spectra[layer.name] = remembered_spectrum(weight_matrix(model.module(layer.name)), reach)
        publish((layer.name, spectra[layer.name]))
    return spectra
