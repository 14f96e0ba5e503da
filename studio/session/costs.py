"""Exact sizes at every move of a slider, and the singular values that some of them need."""

from collections.abc import Callable, Mapping

from psygnal import Signal

from studio.analysis.views import Spectrum
from studio.engine.door import Lane
from studio.engine.requests import MeasureExportSize, ViewSpectrum
from studio.recipe.cost import ModelCost, model_cost
from studio.recipe.factorization import Factorization, budget, candidates
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, RankSettings
from studio.session.asking import Asker
from studio.session.project import Project


class Costs:
    """The cost of a project's present recipe, computed here from shapes alone.

    Attributes:
        cost: None before a project has begun.
        spectra: singular values by layer, as far as they were asked for.
        changed: emitted with ``size`` and nothing, or ``spectrum`` and a layer's name, when the engine told more.
    """

    changed = Signal(str, str)

    def __init__(self, asker: Asker, failed: Callable[[BaseException], None]) -> None:
        self._asker = asker
        self._failed = failed
        self._project: Project | None = None
        self._asked: set[tuple[str, float]] = set()
        self.cost: ModelCost | None = None
        self.spectra: dict[str, Spectrum] = {}
        self._split: dict[str, tuple[RankSettings | None, tuple[int, ...], Factorization]] = {}

    def begin(self, project: Project) -> None:
        """Forgets the last project, and asks how large this one is when the studio writes it."""
        self._project = project
        self._asked.clear()
        self.spectra.clear()
        self._split.clear()
        self.renew(project)

        def known(size: int) -> None:
            if project is self._project:
                project.export_size = size
                self.renew(project)
                self.changed.emit("size", "")

        self._asker.ask(
            MeasureExportSize(project.info.path, project.info.skeleton), known, self._failed, lane=Lane.BACKGROUND
        )

    @property
    def bytes(self) -> int:
        """Predicted size of the file that the present recipe gives, 0 before a project has begun."""
        return self.cost.bytes if self.cost is not None else 0

    def bytes_of(self, project: Project, recipe: Recipe) -> int:
        """The same for any recipe of the project."""
        return self._cost(project, recipe, recipe.settings_of(project.info.layers)).bytes

    def renew(self, project: Project) -> None:
        """Computes the cost anew; a rank chosen by energy asks for its layer's spectrum."""
        self.cost = self._cost(project, project.recipe, project.chosen)

    def _cost(self, project: Project, recipe: Recipe, settings: Mapping[str, LayerSettings]) -> ModelCost:
        size = project.export_size or project.info.bytes
        return model_cost(project.info, recipe, self._factors(project, recipe, settings), size)

    def view_spectrum(self, project: Project, layer: str, reach: float = 0.0) -> None:
        """Asks for a layer's singular values, unless they are known or on their way; `changed` tells of them.

        Args:
            project: the open one.
            layer: its name.
            reach: share of the energy whose values are needed one by one. The leading values of a huge layer are asked
                for first; what they do not reach takes long, and others may look meanwhile.
        """
        known = self.spectra.get(layer)
        if known is None:
            self._ask_spectrum(project, layer, 0.0, Lane.LOOK)
        elif not known.reaches(reach):
            self._ask_spectrum(project, layer, 1.0, Lane.BACKGROUND)

    def _ask_spectrum(self, project: Project, layer: str, reach: float, lane: Lane) -> None:
        if (layer, reach) in self._asked:
            return
        self._asked.add((layer, reach))

        def seen(spectrum: Spectrum) -> None:
            if project is self._project:
                self.spectra[layer] = spectrum
                self.renew(project)
                self.changed.emit("spectrum", layer)

        def failed(error: BaseException) -> None:
            self._asked.discard((layer, reach))
            self._failed(error)

        request = ViewSpectrum(project.info.path, layer, project.info.skeleton, reach)
        self._asker.ask(request, seen, failed, lane=lane)

    def learn(self, project: Project, factors: Mapping[str, Factorization]) -> None:
        """Takes over how layers were split for the project's present choice."""
        layers = project.recipe.narrowed(project.info.layers)
        learnt = {name: (project.settings(name).rank, layers[name].shape, split) for name, split in factors.items()}
        if learnt.items() <= self._split.items():
            return
        self._split |= learnt
        self.renew(project)
        self.changed.emit("size", "")

    def factors(self, project: Project) -> Mapping[str, Factorization]:
        """How layers with a rank are split, as far as it is known; a rank chosen by energy asks for its spectrum."""
        return self._factors(project, project.recipe, project.chosen)

    def _factors(
        self, project: Project, recipe: Recipe, settings: Mapping[str, LayerSettings]
    ) -> Mapping[str, Factorization]:
        known: dict[str, Factorization] = {}
        ranked = [(layer, chosen) for layer in project.info.layers if (chosen := settings[layer.name].rank)]
        layers = recipe.narrowed(project.info.layers) if ranked else {}  # at every move of a slider
        for layer, chosen in ranked:
            rest = layers[layer.name]
            rank_then, shape, split = self._split.get(layer.name, (None, (), None))
            if split is not None and (rank_then, shape) == (chosen, rest.shape):
                known[layer.name] = split
            elif chosen.energy is not None:
                spectrum = self.spectra.get(layer.name)
                if spectrum is None or not spectrum.reaches(chosen.energy):
                    self.view_spectrum(project, layer.name, chosen.energy)
                    continue
                rank = min(spectrum.rank_for(chosen.energy), rest.full_rank)
                weights = budget(chosen, rest.shape, rank) or 0
                known[layer.name] = next(candidates(chosen, rest.shape, weights))
        return known
