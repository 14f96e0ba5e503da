"""The running application without a window: one open project, and everything that follows from an edit.

All methods are called on the main thread and return at once; results arrive as signals on the main thread. One edit,
followed through: `edit_layers` → a new `Recipe`, one history step, one `Change` → costs are exact at once, the
preview lane measures, the autosave is written.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psygnal import Signal

from studio.analysis.views import Spectrum, WeightView
from studio.distillation.settings import DistillSettings
from studio.engine.door import Call, Engine
from studio.engine.requests import Export, OpenModel, ViewWeights
from studio.errors import EngineStoppedError, StudioError, TrustNeededError
from studio.export.latency import LatencySettings
from studio.models.layer import ModelInfo
from studio.recipe.cost import ModelCost
from studio.recipe.factorization import Factorization
from studio.recipe.files import load_recipe, save_recipe
from studio.resources import Sample
from studio.session.asking import BAD, Asker, Deliveries, Dispatch, explain
from studio.session.autosave import Autosave, SavedProject
from studio.session.costs import Costs
from studio.session.data_checks import DataChecks
from studio.session.drafts import Drafts
from studio.session.feasibilities import Feasibilities
from studio.session.jobs import Job, Jobs, JobState
from studio.session.ladder import Ladder
from studio.session.latencies import Latencies
from studio.session.layer_drops import LayerDrops
from studio.session.predictions import Predictions
from studio.session.preferences import Preferences, load_preferences, save_preferences
from studio.session.preview import PreviewLane
from studio.session.project import Choice, Project
from studio.session.recoveries import Recoveries
from studio.session.runs import KeptRuns, TrainedRun
from studio.session.scans import Scans
from studio.session.searches import Searches
from studio.session.students import Students
from studio.session.trust import Trust
from studio.session.variants import Variant, Variants

#: What a failed call says when the engine's process died; the next request starts another.
ENGINE_STOPPED = "The engine stopped and will start again with the next edit. Your project is untouched."


@dataclass(frozen=True)
class Change:
    """One edit, announced once.

    Attributes:
        kinds: what changed: ``model``, ``data``, ``recipe``, ``size``, ``spectrum``.
        layers: names of the layers it touches; empty for all.
    """

    kinds: frozenset[str]
    layers: frozenset[str] = frozenset()


class Session:
    """One open project with its engine, preview, jobs and variants.

    Args:
        engines: makes an engine; called once for the interactive one and once for every job.
        folder: where trained weights, the autosave and the preferences live.
        dispatch: has an action done on the main thread, soon.
        threads: torch threads of a job; None for all cores.
    """

    changed = Signal(Change)
    notice = Signal(str, str)  # what happened, and of an error its tone, bad
    opening = Signal(bool)
    network_missing = Signal(str)  # path of a checkpoint that is open without the network it belongs to
    weights_viewed = Signal(str, WeightView)

    def __init__(
        self, engines: Callable[[], Engine], folder: Path, dispatch: Dispatch, threads: int | None = None
    ) -> None:
        self._folder = folder
        self._engine = engines()
        self._deliveries = Deliveries(dispatch)
        self._asker = Asker(self._engine, self._deliveries)
        self.variants = Variants()
        self._autosave = Autosave(folder / "autosave.json", self.variants, self._deliveries, self._fail)
        self._opening: Call[ModelInfo] | None = None
        self._viewing: Call[WeightView] | None = None
        self._checks = DataChecks(self._asker, self._fail, self._data_checked)
        self.drafts = Drafts(self._asker, folder / "data")
        self.preferences = load_preferences(folder / "preferences.yaml")
        self.project: Project | None = None
        self._costs = Costs(self._asker, self._fail)
        self._costs.changed.connect(self._tell_cost)
        self.preview = PreviewLane(self._asker, self._explain)
        self.drops = LayerDrops(self._asker)
        self.latencies = Latencies(self._asker, self._explain)
        self.jobs = Jobs(engines, self._deliveries, explain)
        self._runs = KeptRuns(folder / "runs")
        self.recoveries = Recoveries(folder, self.jobs, threads, self._distilled)
        self.students = Students(folder / "students", self._asker, self.jobs, self.recoveries, self._runs, self._fail)
        self.scans = Scans(folder, self.jobs)
        self.feasibilities = Feasibilities(self._asker, self.scans, self._choose, self._fail)
        self.searches = Searches(self.scans, self.jobs, self._choose)
        self.ladder = Ladder(self.preview, self.jobs, lambda: self.project, self._choose)
        self.predictions = Predictions(self.scans, self._costs)
        self.trust = Trust(self._asker, folder, lambda: self.preferences, self._prefer, self.open_model, self._fail)
        self.preview.changed.connect(self._note_measured)
        self.jobs.changed.connect(self._tell_failure)

    # Opening

    def open_sample(self, sample: Sample) -> None:
        """Opens a built-in sample with its data."""
        self.open_model(str(sample.model), test=str(sample.test), train=str(sample.train))

    def open_model(
        self, path: str, skeleton: str | None = None, *, test: str | None = None, train: str | None = None
    ) -> None:
        """Opens a model (a checkpoint with its skeleton) in place of the open one; a failure leaves that one open."""
        self._open(path, skeleton, lambda project: self._checks.check(project, test, train))

    def open_recent(self, path: str) -> None:
        """Opens a recent file, a checkpoint with the skeleton that it had."""
        self.open_model(path, self.preferences.skeleton_of(path))

    def recoverable(self) -> SavedProject | None:
        """What the last session left behind."""
        return self._autosave.read()

    def restore(self, saved: SavedProject) -> None:
        """Opens a saved project with its whole history."""

        def restored(project: Project) -> None:
            project.history = saved.history()
            saved.bring_back(self.variants)
            self._checks.check(project, saved.test, saved.train)

        self._open(saved.model, saved.skeleton, restored)

    def set_data(self, *, test: str | None = None, train: str | None = None) -> None:
        """Chooses the data that measures and the data that trains; None leaves that one as it is."""
        if self.project is not None:
            self._checks.check(self.project, test, train)

    def _open(self, path: str, skeleton: str | None, then: Callable[[Project], None]) -> None:
        for earlier in (self._opening, self.trust.under_way):
            if earlier is not None:
                earlier.cancel()
        self.opening.emit(True)

        def opened(info: ModelInfo) -> None:
            self.opening.emit(False)
            for lane in (self.preview, self.drops, self.latencies):
                lane.clear()
            self.project = project = Project(info)
            self.variants.begin(info.bytes, self._runs.of(info))
            self._prefer(self.preferences.with_recent(path, skeleton))
            then(project)
            self._autosave.write(project)
            self._costs.begin(project)
            self.scans.load(project)
            self.feasibilities.begin(project)
            self.searches.clear()
            self._announce("model", "data", "recipe")
            if info.needs_skeleton:
                self.network_missing.emit(path)

        def failed(error: BaseException) -> None:
            self.opening.emit(False)
            if isinstance(error, TrustNeededError):
                self.trust.ask(path, error.fingerprint)
            else:
                self._fail(error)

        self._opening = self._asker.ask(OpenModel(path, skeleton), opened, failed)

    def _data_checked(self, project: Project) -> None:
        if project is self.project:
            self._autosave.write(project)
            self.drops.clear()
            self.scans.load(project)
            self._announce("data")

    # Editing

    def edit_layers(self, names: Iterable[str], label: str, merge: str | None = None, **methods: Any) -> None:
        """Changes some methods of some layers, as one step.

        Args:
            names: dotted names of the layers; channels are chosen for all layers that lose them together.
            label: the step in words, for the undo menu.
            merge: edits with the same key are one step until `finish_edit`; for slider drags.
            **methods: fields of `LayerSettings` with their new value; the others stay.
        """
        project = self._required()
        names = project.coupled(names) if "channels" in methods else list(names)
        settings = {name: project.settings(name).model_copy(update=methods) for name in names}
        self._choose(Choice(project.recipe.with_layers(settings), project.weights), label, merge, names)

    def edit_options(self, label: str, merge: str | None = None, **options: Any) -> None:
        """Changes how the recipe is carried out, as one step; see `edit_layers`."""
        project = self._required()
        self._choose(Choice(project.recipe.with_options(**options), project.weights), label, merge)

    def finish_edit(self) -> None:
        """Ends a merged edit: the hand has let go."""
        if self.project is not None:
            self.project.history.seal()
            self._autosave.write(self.project)
            self.preview.release()

    def reset(self) -> None:
        """Takes every setting and the trained weights back, as one step."""
        self._choose(Choice(), "Reset all layers")

    def undo(self) -> None:
        """Takes the last step back."""
        if self.project is not None and self.project.history.undo():
            self._edited(())

    def redo(self) -> None:
        """Brings the step back that was taken back last."""
        if self.project is not None and self.project.history.redo():
            self._edited(())

    def load_recipe(self, path: str) -> None:
        """Takes the recipe of a file, as one step.

        Raises:
            RecipeError: the file is no recipe, or does not fit the model.
        """
        project = self._required()
        self._choose(Choice(load_recipe(path, project.info.layers), project.weights), f"Load {Path(path).name}")

    def save_recipe(self, path: str) -> None:
        """Writes the present recipe.

        Raises:
            RecipeError: the file cannot be written.
        """
        save_recipe(self._required().recipe, path)

    def apply_variant(self, variant: Variant) -> None:
        """Goes to a kept variant, as one step."""
        self._choose(variant.choice, f"Go to {variant.name}")

    def keep_variant(self, name: str) -> None:
        """Keeps the present choice with its result beside the others."""
        project = self._required()
        self.variants.add(name, project.history.state, self._costs.bytes, self.preview.result)
        self._autosave.write(project)

    def _choose(self, choice: Choice, label: str, merge: str | None = None, names: Iterable[str] = ()) -> None:
        if self._required().history.push(choice, label, merge):
            self._edited(names, dragged=merge is not None)

    def _edited(self, names: Iterable[str], dragged: bool = False) -> None:
        project = self._required()
        if not dragged:
            self._autosave.write(project)
        self.latencies.cancel()
        self.scans.follow(project)
        self._costs.renew(project)
        self._announce("recipe", layers=names, held=dragged and self.jobs.are_training)

    def _announce(self, *kinds: str, layers: Iterable[str] = (), held: bool = False) -> None:
        """Tells everyone, then measures anew, at once or when the edit is finished."""
        self.changed.emit(Change(frozenset(kinds), frozenset(layers)))
        project = self.project
        if project is not None and not self._checks.pending:
            self.drops.cancel()
            measure = self.preview.hold if held else self.preview.measure
            measure(project, lambda: self.drops.measure(project))

    # Looking

    def view_weights(self, layer: str) -> None:
        """Asks for a layer's histogram under the present settings; `weights_viewed` brings it."""
        project = self._required()
        if self._viewing is not None:
            self._viewing.cancel()
        request = ViewWeights(project.source(fit="layer"), layer)
        self._viewing = self._asker.ask(request, lambda view: self.weights_viewed.emit(layer, view), self._fail)

    def view_spectrum(self, layer: str, reach: float = 0.0) -> None:
        """Asks for a layer's singular values up to an energy, if a huge one's; a ``spectrum`` change tells of them."""
        self._costs.view_spectrum(self._required(), layer, reach)

    @property
    def cost(self) -> ModelCost | None:
        """Exact sizes under the present recipe; None before a model is open."""
        return self._costs.cost

    @property
    def spectra(self) -> Mapping[str, Spectrum]:
        """Singular values by layer, as far as they were asked for."""
        return self._costs.spectra

    @property
    def factors(self) -> Mapping[str, Factorization]:
        """How layers with a rank are split, as far as it is known."""
        return self._costs.factors(self._required())

    def _tell_cost(self, kind: str, layer: str) -> None:
        self._note_measured()
        self.changed.emit(Change(frozenset({kind}), frozenset({layer} if layer else ())))

    # Jobs

    def distill(self, settings: DistillSettings) -> Job:
        """Trains the present choice towards the original in the background; the best weights become a variant.

        Raises:
            StudioError: there is no training data.
        """
        return self.recoveries.start(self._required(), settings)

    def scan(self) -> Job:
        """Measures every layer alone at several strengths, in the background; `scans` has the points as they come."""
        return self.scans.start(self._required())

    def measure_latency(self, settings: LatencySettings | None = None) -> None:
        """Times the present choice beside the original; `settings` are remembered, and hold from then on."""
        if settings is not None:
            self._prefer(self.preferences.model_copy(update={"latency": settings}))
        self.latencies.measure(self._required(), self.preferences.latency)

    def export(self, path: str) -> Job:
        """Writes and verifies the present choice in the background."""
        project = self._required()
        request = Export(project.source(), path, project.test.path if project.test else None)
        title, choice = f"Export {Path(path).name}", project.history.state
        return self.jobs.start("export", title, request, lambda report: self._exported(choice, report))

    def _distilled(self, project: Project, run: TrainedRun) -> None:
        """Keeps the trained weights as a variant and stands the present recipe on them, as a step to undo."""
        here, weights, name = project is self.project, run.outcome.weights, Path(project.info.path).name
        size = self._costs.bytes_of(project, run.recipe) if here else 0  # the project's own may be another by now
        run = self._runs.keep(project.info.fingerprint, run.model_copy(update={"bytes": size}))
        if not here:
            self.notice.emit(f"The distillation of {name}, which is no longer open, left its weights in {weights}")
            return
        self.variants.add_run(run)
        self._choose(Choice(project.recipe, weights), "Distil")
        self.notice.emit(run.found)

    def _tell_failure(self, job: Job) -> None:
        if job.state is JobState.FAILED:
            self.notice.emit(f"{job.title} failed: {job.error}", BAD)

    def _exported(self, choice: Choice, report: Any) -> None:
        self.notice.emit(f"Exported and verified: {report.out}")
        project = self.project
        if project is not None and project.history.state == choice and "time" not in project.info.lacks:
            self.measure_latency()

    # Keeping

    def set_theme(self, theme: str) -> None:
        """Prefers a theme from now on: ``system``, ``light`` or ``dark``."""
        self._prefer(self.preferences.model_copy(update={"theme": theme}))

    def close(self) -> None:
        """Ends everything in order; what was chosen and distillations that were not done are left to go on with."""
        self._deliveries.close()
        self.jobs.close()
        self._engine.close()
        self._autosave.end(self.project)

    def _prefer(self, preferences: Preferences) -> None:
        self.preferences = preferences
        save_preferences(preferences, self._folder / "preferences.yaml", self._fail)

    def _note_measured(self) -> None:
        project, result = self.project, self.preview.result
        if project is None or result is None:
            return
        self._costs.learn(project, result.factors)
        if result.finished:
            self.variants.measured(project.history.state, result, self._costs.bytes)

    def _required(self) -> Project:
        if self.project is None:
            raise StudioError("Open a model first.")
        return self.project

    def _explain(self, error: BaseException) -> str:
        """`explain`, with a notice of its own when the interactive engine died."""
        if isinstance(error, EngineStoppedError):
            self.notice.emit(ENGINE_STOPPED, BAD)
            return ENGINE_STOPPED
        return explain(error)

    def _fail(self, error: BaseException) -> None:
        if (message := self._explain(error)) != ENGINE_STOPPED:
            self.notice.emit(message, BAD)
