"""What each method could save on the open model at no expected loss: told by its weights, better by a scan."""

from collections.abc import Callable

from psygnal import Signal

from studio.engine.door import Call, Lane
from studio.engine.requests import FindHarmless
from studio.evaluation.feasibility import Feasibility, Harmless, feasibility
from studio.progress import Progress
from studio.recipe.settings import LayerSettings, PruneSettings
from studio.session.asking import Asker
from studio.session.project import Choice, Project
from studio.session.scans import Scans

#: What a step is called that takes up everything harmless of a method.
STEPS = {
    "quantize": "Fewer bits at no expected loss",
    "prune": "Zeros at no expected loss",
    "rank": "Lower ranks at no expected loss",
    "channels": "Fewer channels at no expected loss",
}


class Feasibilities:
    """Looks at the open model in the background and follows its scan.

    Args:
        asker: of the interactive engine.
        scans: what was measured goes before what the weights tell.
        choose: takes a choice for the open project, as one step with a label.
        failed: receives why the weights could not be looked at.

    Attributes:
        looking: whether the engine still looks at the weights.
        progress: how far it is.
        changed: emitted when there is something new.
    """

    changed = Signal()

    def __init__(
        self,
        asker: Asker,
        scans: Scans,
        choose: Callable[[Choice, str], object],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._asker = asker
        self._scans = scans
        self._choose = choose
        self._failed = failed
        self._found: Harmless | None = None
        self._call: Call[Harmless] | None = None
        self.looking = False
        self.progress: Progress | None = None
        scans.changed.connect(lambda _layer: self.changed.emit())

    def begin(self, project: Project) -> None:
        """Forgets the last model and looks at this one."""
        if self._call is not None:
            self._call.cancel()
        self._found, self.progress, self.looking = None, None, True
        request = FindHarmless(project.info.path, project.info.skeleton)
        self.changed.emit()
        self._call = self._asker.ask(request, self._know, self._give_up, lane=Lane.BACKGROUND, progress=self._follow)

    def of(self, project: Project) -> tuple[Feasibility, ...]:
        """Every method, as far as it is known."""
        return feasibility(project.info, self._scans.scan, self._found)

    def take(self, project: Project, found: Feasibility) -> None:
        """Gives every layer its strongest harmless setting of a method, as one step; what is kept or locked stays."""
        chosen = self._chosen(project, found)
        self._choose(Choice(project.recipe.with_layers(chosen), project.weights), STEPS[found.method])

    def is_taken(self, project: Project, found: Feasibility) -> bool:
        """Whether `take` would change nothing."""
        return all(project.settings(name) == settings for name, settings in self._chosen(project, found).items())

    def _chosen(self, project: Project, found: Feasibility) -> dict[str, LayerSettings]:
        """What `take` sets: nothing where the layer is kept, locked or has as much already."""
        stay = project.locked
        return {
            name: _with(project.settings(name), settings)
            for name, settings in self._spread(project, found).items()
            if name not in stay and not _is_as_strong(project.settings(name), settings)
        }

    def _spread(self, project: Project, found: Feasibility) -> dict[str, LayerSettings]:
        """Channels are chosen for all layers that lose them together."""
        if found.method != "channels":
            return dict(found.harmless)
        return {other: one for name, one in found.harmless.items() for other in project.coupled([name])}

    def _know(self, found: Harmless) -> None:
        self._found = found
        self._end()

    def _give_up(self, error: BaseException) -> None:
        self._end()
        self._failed(error)

    def _follow(self, progress: Progress) -> None:
        self.progress = progress
        self.changed.emit()

    def _end(self) -> None:
        self.looking, self.progress = False, None
        self.changed.emit()


def _zeros(settings: PruneSettings) -> float:
    """Share of the weights that become zero."""
    return settings.ratio if settings.kind == "unstructured" else 1 - settings.n / settings.m


def _is_as_strong(now: LayerSettings, told: LayerSettings) -> bool:
    """Whether a layer is kept as it is, or its own settings go as far as those told."""
    if now.keep:
        return True
    if told.quantize is not None:
        return now.quantize is not None and now.quantize.weight_bits <= told.quantize.weight_bits
    if told.channels is not None:
        return now.channels is not None and now.channels.ratio >= told.channels.ratio
    if told.prune is not None:
        return now.prune is not None and (now.prune == told.prune or _zeros(now.prune) > _zeros(told.prune))
    return now.rank is not None and now.rank == told.rank


def _with(now: LayerSettings, more: LayerSettings) -> LayerSettings:
    """Settings with what is chosen in `more`; activations stay as they are."""
    chosen = {method: value for method in type(more).model_fields if (value := getattr(more, method))}
    if now.quantize is not None and more.quantize is not None:
        rounded = {field: getattr(now.quantize, field) for field in ("activation_bits", "activation_range")}
        chosen["quantize"] = more.quantize.model_copy(update=rounded)
    return now.model_copy(update=chosen)
