"""Answers the engine's requests, remembering what is dear to make again: models, data, references, calibrations.

Every answer depends on its request alone; the caches only save time. Two lanes may ask at once, so that making a
remembered thing is guarded by a lock of its own.
"""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import partial, singledispatchmethod
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor

from studio.analysis.calibration import Calibration, second_moment
from studio.analysis.calibration_cache import remembered_calibration
from studio.analysis.statistics import weight_view
from studio.analysis.views import Spectrum, WeightView
from studio.compression.compress import CompressedModel, compress
from studio.distillation.copy_settings import CopySize
from studio.distillation.settings import DistillOutcome
from studio.engine.channel_gradients import ChannelGradients
from studio.engine.channel_steps import narrowed_further
from studio.engine.datasets import Datasets
from studio.engine.door import Publish, unpublished
from studio.engine.exporting import answer_export, check_export
from studio.engine.kept_scan import KeptScan
from studio.engine.leverages import Leverages
from studio.engine.looking import answer_looking, spectrum_of
from studio.engine.memory import Memory
from studio.engine.outputs import Outputs
from studio.engine.requests import (
    Assist,
    CheckData,
    Distill,
    Export,
    FindHarmless,
    GuessData,
    LookAtData,
    MakeCopy,
    MeasureExportSize,
    MeasureLatency,
    OpenModel,
    PredictCopy,
    Preview,
    Request,
    ScanLayers,
    Search,
    Source,
    TellSamples,
    TimeSettings,
    TrustProgram,
    ViewSpectra,
    ViewSpectrum,
    ViewWeights,
)
from studio.engine.searching import answer_search
from studio.engine.students import answer_copy
from studio.engine.timings import time_table, uniform, written, written_original
from studio.engine.training import Lessons, assisted, distilled, recipes_of
from studio.evaluation.batches import Batches
from studio.evaluation.candidates import candidates, left_out
from studio.evaluation.contents import holds_samples
from studio.evaluation.data import Dataset
from studio.evaluation.data_guess import DataGuess, DataView
from studio.evaluation.evaluate import Reference, measure
from studio.evaluation.feasibility import Harmless
from studio.evaluation.look import look
from studio.evaluation.result import WEIGHT_ERROR, Result
from studio.evaluation.runtime import predict_of
from studio.evaluation.scan import Course, scan
from studio.evaluation.sensitivity import Scan, ScanPoint, scan_key
from studio.evaluation.weight_error import WeightNorms, weight_error
from studio.export.latency import Latency, TimeTable
from studio.export.report import ExportReport
from studio.export.size import measure_export_size
from studio.export.target import format_for
from studio.export.timing import measure_latency
from studio.files import file_version
from studio.models.layer import ModelInfo
from studio.models.model import Model, weight_matrix
from studio.models.open import open_model
from studio.models.torchscript import convert
from studio.progress import Progress, Report, silent
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings
from studio.search.outcome import SearchOutcome

Answer = TypeVar("Answer")

#: Samples that pass through the model at once while calibrating.
CALIBRATION_BATCH = 64


class Workspace:
    """The engine itself, without a process or a thread of its own."""

    def __init__(self) -> None:
        self._models = Memory(2)
        self._data = Datasets()
        self._references = Memory(4)
        self._outputs = Outputs()
        self._calibrations = Memory(2)
        self._gradients = ChannelGradients()
        self._leverages = Leverages()
        self._files = Memory(2)
        # a sequential fit takes long: kept apart, it does not hold up the layer fit that the window looks at
        self._compressed = {"layer": Memory(3), "sequential": Memory(2)}
        self._last: dict[Hashable, CompressedModel] = {}

    def answer(self, request: Request[Answer], report: Report = silent, publish: Publish = unpublished) -> Answer:
        """Does what `request` asks.

        Raises:
            StudioError: the user's input cannot be used.
            Cancelled: `report` was told to stop.
        """
        return cast("Answer", self._answer(request, report, publish))

    @singledispatchmethod
    def _answer(self, request: Any, _report: Report, _publish: Publish) -> object:
        raise TypeError(f"the engine has no answer to {type(request).__name__}")

    @_answer.register
    def _(self, request: OpenModel, report: Report, _publish: Publish) -> ModelInfo:
        return self._model(request.path, request.skeleton, report).info

    @_answer.register
    def _(self, request: TrustProgram, _report: Report, _publish: Publish) -> str:
        return str(convert(Path(request.path), Path(request.folder), request.fingerprint, request.shapes))

    @_answer.register
    def _(self, request: MeasureExportSize, _report: Report, _publish: Publish) -> int:
        return measure_export_size(self._model(request.model, request.skeleton))

    @_answer.register
    def _(self, request: CheckData, _report: Report, _publish: Publish) -> int:
        return len(self._dataset(request.data, self._model(request.model, request.skeleton)))

    @_answer.register
    def _(self, request: TellSamples, _report: Report, _publish: Publish) -> frozenset[str]:
        return frozenset(path for path in request.paths if holds_samples(Path(path)))

    @_answer.register
    def _(self, request: GuessData, report: Report, _publish: Publish) -> DataGuess:
        return self._data.guess(request.data, self._model(request.model, request.skeleton), report)

    @_answer.register
    def _(self, request: LookAtData, report: Report, publish: Publish) -> DataView:
        model = self._model(request.model, request.skeleton)
        model.info.require("measure")
        return look(Path(request.place), request.described, model, report, publish)

    @_answer.register
    def _(self, request: ViewWeights, report: Report, _publish: Publish) -> WeightView:
        source, model = request.source, self._model(request.source.model, request.source.skeleton)
        original = weight_matrix(model.module(request.layer)).detach()
        if source.weights is None and self._calibration(source, model, report) is None:
            source = replace(source, recipe=source.recipe.without_activations())  # they take data, the weights do not
        compressed = self._compress(source, report)
        if compressed.graph.get_submodule(request.layer) is model.module(request.layer):
            return weight_view(original, None)
        after = compressed.effective_weight(request.layer).reshape(original.shape)
        leverage = self._leverages.of(source, model, self._dataset)
        felt = None if leverage is None else leverage.channels.get(request.layer)
        return weight_view(original, after, self._moment(source, model, request.layer), felt)

    @_answer.register
    def _(self, request: ViewSpectrum, _report: Report, _publish: Publish) -> Spectrum:
        return spectrum_of(self._model(request.model, request.skeleton), request.layer, request.reach)

    @_answer.register
    def _(
        self, request: ViewSpectra | FindHarmless, report: Report, publish: Publish
    ) -> Mapping[str, Spectrum] | Harmless:
        return answer_looking(request, self._model(request.model, request.skeleton), report, publish)

    @_answer.register
    def _(self, request: Preview, report: Report, publish: Publish) -> Result:
        model = self._model(request.source.model, request.source.skeleton)
        compressed = self._compress(request.source, report)
        data = self._dataset(request.data, model) if request.data else None
        if not model.info.has_network:
            return weight_error(compressed, self._norms(model), report)

        def described(result: Result) -> Result:
            return replace(result, factors=compressed.factors)

        result = measure(
            self._outputs.of(compressed, request.data),
            data,
            reference=self._reference(model, request.data),
            model=model,
            samples=request.samples,
            seed=request.seed,
            fit=compressed.fit,
            report=report,
            publish=lambda block: publish(described(block)),
        )
        return described(result)

    @_answer.register
    def _(self, request: ScanLayers, report: Report, publish: Publish) -> Scan:
        source, model = request.source, self._model(request.source.model, request.source.skeleton)
        model.info.require("scan")
        chosen = candidates(model.info, request.layers, request.activations, request.skip, request.channels)
        options, samples, seed, racing = source.recipe.options, request.samples, request.seed, request.racing
        key = scan_key(model.info.fingerprint, request.data, source.calibration, options, samples, seed, racing)
        kept = KeptScan(key, left_out(model.info), Path(request.keep) if request.keep else None)

        def keep(point: ScanPoint) -> None:
            kept.add(point)
            publish(point)

        with kept:
            data = self._dataset(request.data, model) if request.data else None
            outputs = self._outputs.alone(model, request.data)
            reference, calibration = self._reference(model, request.data), self._learnt(source, model, report)
            course = Course(model, data, outputs, reference, calibration, options, samples, seed, racing)
            scan(course, chosen, known=kept.scan.points, report=report, publish=keep)
        return kept.scan

    @_answer.register
    def _(self, request: Search, report: Report, publish: Publish) -> SearchOutcome:
        return answer_search(request, self._answer, report, publish)

    @_answer.register
    def _(self, request: Distill, report: Report, publish: Publish) -> DistillOutcome:
        student, lessons = self._lessons(request, report)
        learnt = self._calibration(request.source, student.model, report)
        narrow = partial(narrowed_further, student.model, learnt, self._dataset, report)
        return distilled(student, lessons, request, narrow, report, publish)

    @_answer.register
    def _(self, request: Assist, report: Report, _publish: Publish) -> None:
        assisted(*self._lessons(request.distill, report))

    @_answer.register
    def _(self, request: MakeCopy | PredictCopy, report: Report, _publish: Publish) -> tuple[str, ...] | CopySize:
        return answer_copy(request, self._model(request.model, request.skeleton, report))

    @_answer.register
    def _(self, request: Export, report: Report, _publish: Publish) -> ExportReport:
        check_export(request)
        model = self._model(request.source.model, request.source.skeleton)
        wanted = format_for(model.info, request.format, Path(request.out))
        data = self._dataset(request.data, model) if request.data else None
        return answer_export(request, self._compress(request.source, report), wanted, data, self._norms(model), report)

    @_answer.register
    def _(self, request: MeasureLatency, report: Report, _publish: Publish) -> Latency:
        source, model = request.source, self._model(request.source.model, request.source.skeleton)
        files = [self._original_file(model)]
        compressed = self._compress(source, report)
        if compressed.settings or source.weights:
            report(Progress(0, None, "Writing the compressed model"))
            same = (model.info.fingerprint, source.weights, source.calibration, _key(source.recipe))
            files.append(self._files.get(same, lambda: written(compressed)))
        return measure_latency(model, files, request.settings, report)

    @_answer.register
    def _(self, request: TimeSettings, report: Report, _publish: Publish) -> TimeTable:
        source, model = request.source, self._model(request.source.model, request.source.skeleton)

        def compressed(choice: LayerSettings) -> CompressedModel:
            recipe = uniform(model.info.layers, choice, source.recipe.options)
            if choice.quantize is None or not choice.quantize.activation_bits:
                return compress(model, recipe)  # how weights are fitted takes time and changes none
            learnt = self._learnt(source, model, report)
            return compress(model, recipe if learnt else recipe.without_activations(), calibration=learnt)

        return time_table(model, self._original_file(model), request.choices, compressed, request.settings, report)

    def _original_file(self, model: Model) -> bytes:
        model.info.require("time")
        return self._files.get(model.info.fingerprint, lambda: written_original(model))

    def _lessons(self, request: Distill, report: Report) -> tuple[CompressedModel, Lessons]:
        """Who learns, and from what."""
        model = self._model(request.source.model, request.source.skeleton)
        model.info.require("train")
        whole = replace(request.source, recipe=request.source.recipe.before_pruning())
        first = replace(request.source, recipe=recipes_of(request, model)[0])
        return self._compress(first, report), Lessons(
            self._dataset(request.train, model),
            self._dataset(request.evaluation, model) if request.evaluation else None,
            request.settings,
            self._model(request.teacher, request.teacher_skeleton) if request.teacher else None,
            self._compress(whole, report) if request.settings.gradual else None,
        )

    def _model(self, path: str, skeleton: str | None, report: Report = silent) -> Model:
        key = (file_version(path), file_version(skeleton) if skeleton else None)
        return self._models.get(key, lambda: open_model(path, skeleton=skeleton, report=report))

    def _dataset(self, path: str, model: Model) -> Dataset:
        model.info.require("measure")
        return self._data.open(path, model)

    def _reference(self, model: Model, data: str | None) -> Reference:
        key = (model.info.fingerprint, file_version(data) if data else None)
        return self._references.get(key, lambda: Reference(predict_of(model)))

    def _norms(self, model: Model) -> WeightNorms:
        return self._references.get((model.info.fingerprint, WEIGHT_ERROR), lambda: WeightNorms(model))

    def _compress(self, source: Source, report: Report) -> CompressedModel:
        """The compressed model of `source`; layers that the last one of the same model shares are taken over."""
        model = self._model(source.model, source.skeleton)
        options = source.recipe.options.model_dump_json()
        same = (model.info.fingerprint, source.weights, source.calibration, options)
        calibration = self._calibration(source, model, report)
        gradients = self._gradients.of(source, model, self._dataset, report)

        def make() -> CompressedModel:
            weights = Path(source.weights) if source.weights else None
            last = self._last.get(same)
            made = compress(
                model,
                source.recipe,
                calibration=calibration,
                gradients=gradients,
                weights=weights,
                previous=last,
                report=report,
            )
            if last is None or not made.settings.items() <= last.settings.items():
                self._remember(same, made)  # a part of the last one, such as a layer alone, would lose the others
            return made

        return self._compressed[source.recipe.options.fit].get((same, _key(source.recipe)), make)

    def _remember(self, same: Hashable, made: CompressedModel) -> None:
        """Keeps the last model of a kind; of kinds only those that somebody may still work on."""
        others = {key: last for key, last in self._last.items() if key != same}
        kept = others if len(others) < len(self._compressed) else {}
        self._last = {**kept, same: made}  # replaced whole: both fits may be made at once

    def _moment(self, source: Source, model: Model, layer: str) -> Tensor | None:
        """The second moment of a layer's inputs, about their mean where a bias makes up for its shift."""
        made_up = model.info.layer(layer).has_bias and source.recipe.options.bias_correction
        return second_moment(self._calibration(source, model, silent), layer, about_mean=made_up)

    def _calibration(self, source: Source, model: Model, report: Report) -> Calibration | None:
        unchanged = all(chosen.is_empty for chosen in source.recipe.settings_of(model.info.layers).values())
        return None if unchanged else self._learnt(source, model, report)

    def _learnt(self, source: Source, model: Model, report: Report) -> Calibration | None:
        """What the layers' inputs look like, whatever the recipe does with it."""
        options = source.recipe.options
        if source.calibration is None or not options.data_aware or "fit" in model.info.lacks:
            return None
        data = self._dataset(source.calibration, model)
        count = min(options.calibration_samples, len(data))
        key = (model.info.fingerprint, file_version(source.calibration), count)
        batches = Batches(data, count, CALIBRATION_BATCH)

        def learn() -> Calibration:
            scores = data.classes is not None or not data.labelled
            return replace(remembered_calibration(model, batches, report), scores=scores)

        return self._calibrations.get(key, learn)


def _key(recipe: Recipe) -> str:
    """A hashable stand-in for a recipe."""
    return recipe.model_dump_json(exclude_unset=True)
