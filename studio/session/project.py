"""The document the window works on: an opened model, its data, and what was chosen for it, with its history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from studio.engine.requests import Source
from studio.models.layer import Layer, ModelInfo
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings
from studio.session.history import History


@dataclass(frozen=True)
class Choice:
    """One state of the project: the recipe, and the trained weights it stands on (None: the original's)."""

    recipe: Recipe = field(default_factory=Recipe)
    weights: str | None = None


@dataclass(frozen=True)
class DataFile:
    """A data description that was checked against the model."""

    path: str
    samples: int


@dataclass(frozen=True)
class _Resolved:
    """A recipe with what it comes to for each layer."""

    recipe: Recipe
    settings: Mapping[str, LayerSettings]
    locked: frozenset[str]
    changed: Sequence[Layer]


@dataclass
class Project:
    """What is open.

    Attributes:
        info: the model.
        history: every `Choice` with its cursor.
        test: data that measures, None to compare with the original on random input.
        train: data that methods fit to and that distillation trains on.
        export_size: bytes of the uncompressed export; the file's own size stands in until it is known.
    """

    info: ModelInfo
    history: History[Choice] = field(default_factory=lambda: History(Choice()))
    test: DataFile | None = None
    train: DataFile | None = None
    export_size: int | None = None
    _resolved: "_Resolved | None" = field(default=None, init=False, repr=False, compare=False)

    @property
    def recipe(self) -> Recipe:
        """The recipe at the history's cursor."""
        return self.history.state.recipe

    @property
    def weights(self) -> str | None:
        """The trained weights at the history's cursor."""
        return self.history.state.weights

    @property
    def calibration(self) -> DataFile | None:
        """The data that methods fit to: the training data, or else the data that also measures; None where none can."""
        return None if "fit" in self.info.lacks else self.train or self.test

    def take_test(self, data: DataFile) -> None:
        """Measures on `data` from now on."""
        self.test = data

    def take_train(self, data: DataFile) -> None:
        """Fits and trains on `data` from now on."""
        self.train = data

    def settings(self, layer: str) -> LayerSettings:
        """The settings that hold for `layer`."""
        return self.chosen[layer]

    @property
    def chosen(self) -> Mapping[str, LayerSettings]:
        """The settings that hold for every layer, by name; asked by every cell of the table."""
        return self._present().settings

    @property
    def locked(self) -> frozenset[str]:
        """Names of the layers that a search leaves as they are."""
        return self._present().locked

    def _present(self) -> "_Resolved":
        recipe = self.recipe
        if self._resolved is None or self._resolved.recipe is not recipe:
            layers = self.info.layers
            settings = recipe.settings_of(layers)
            changed = tuple(layer for layer in layers if not settings[layer.name].is_empty)
            self._resolved = _Resolved(recipe, settings, recipe.locked(layers), changed)
        return self._resolved

    def changed_layers(self) -> Sequence[Layer]:
        """Layers that the recipe does something to."""
        return self._present().changed

    def coupled(self, names: Iterable[str]) -> list[str]:
        """These layers and those that lose channels together with them."""
        groups = {self.info.layer(name).group: name for name in names}
        return [layer.name for layer in self.info.layers if layer.group in groups and layer.group is not None]

    def source(self, *, fit: str | None = None, recipe: Recipe | None = None) -> Source:
        """What the engine needs to build the compressed model.

        Args:
            fit: ``layer`` or ``sequential`` in place of the recipe's own.
            recipe: another recipe than the one at the cursor.
        """
        recipe = recipe or self.recipe
        if fit is not None:
            recipe = recipe.with_options(fit=fit)
        calibration = self.calibration.path if self.calibration else None
        return Source(self.info.path, recipe, self.weights, calibration, self.info.skeleton)

    def source_alone(self, layer: str) -> Source:
        """The original with only `layer` compressed, in the layer fit: what its settings cost by themselves."""
        alone = Recipe(options=self.recipe.options).with_layer(layer, self.settings(layer))
        return replace(self.source(fit="layer", recipe=alone), weights=None)
