"""The task of a search: what stays as it is, which recipes come into question, and what exactly each spends."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from studio.models.layer import Layer, ModelInfo
from studio.recipe.cost import ModelCost, layer_cost, model_cost
from studio.recipe.factorization import Factorization, budget, candidates
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings
from studio.search.options import spent_by
from studio.search.target import Target
from studio.search.times import LayerTimes


@dataclass(frozen=True)
class Problem:
    """A model with a budget.

    Attributes:
        info: the model.
        base: layers that are kept or locked in this recipe stay as they are there; of the others it says nothing.
            Its options hold for all recipes.
        exported: bytes of the uncompressed model as the studio writes it.
        target: what is asked for.
        times: what layers take; only where a time is asked for, as a share of the original's.
    """

    info: ModelInfo
    base: Recipe
    exported: int
    target: Target
    times: LayerTimes | None = None

    @cached_property
    def held(self) -> Mapping[str, LayerSettings]:
        """The settings of the layers that stay as they are."""
        locked = self.base.locked(self.info.layers)
        settings = self.base.settings_of(self.info.layers)
        return {name: chosen for name, chosen in settings.items() if chosen.keep or name in locked}

    @cached_property
    def free(self) -> tuple[Layer, ...]:
        """The layers that the search decides about, in running order."""
        return tuple(layer for layer in self.info.layers if layer.name not in self.held)

    @cached_property
    def original(self) -> float:
        """What the uncompressed model spends."""
        if self.times is not None:
            return self.times.original
        return self.target.meter.of_original(self.info, self.exported)

    @cached_property
    def fixed(self) -> float:
        """What is spent whatever the free layers do: negative where it does not add up exactly."""
        if self.times is not None:
            return self.spent(self.recipe({}), {}) - sum(self.spent_by(layer, LayerSettings()) for layer in self.free)
        meter, cost = self.target.meter, self.cost(self.recipe({}), {})
        return meter.of_model(cost) - sum(meter.of_layer(cost.layers[layer.name]) for layer in self.free)

    @property
    def unit(self) -> str:
        """Of what is spent."""
        return self.target.meter.unit if self.times is None else "µs"

    def recipe(self, chosen: Mapping[str, LayerSettings]) -> Recipe:
        """Settings for the free layers; the others stay as they are."""
        return self._with_held(Recipe(options=self.base.options)).with_layers(
            {name: settings for name, settings in chosen.items() if not settings.is_empty}
        )

    def uniform(self, settings: LayerSettings) -> Recipe:
        """The same settings for all free layers that can take them."""
        recipe = self._with_held(Recipe(default=settings, options=self.base.options))
        if settings.channels is None:
            return recipe
        held = {
            name for group in self.info.groups if self.holds(group.members + group.consumers) for name in group.members
        }
        whole = {name: LayerSettings(channels=None) for name in held - self.held.keys()}
        return recipe.model_copy(update={"layers": {**recipe.layers, **whole}})

    def holds(self, names: tuple[str, ...]) -> bool:
        """Whether any of these layers stays as it is."""
        return not self.held.keys().isdisjoint(names)

    def cost(self, recipe: Recipe, factors: Mapping[str, Factorization]) -> ModelCost:
        """What a recipe costs, exactly once it is known how layers are split."""
        return model_cost(self.info, recipe, factors, self.exported)

    def widest(self, recipe: Recipe) -> dict[str, Factorization]:
        """The splits that spend most, where the recipe leaves the form open: no export of it will spend more."""
        meter, layers = self.target.meter, recipe.narrowed(self.info.layers)
        found = dict[str, Factorization]()
        for name, settings in recipe.settings_of(self.info.layers).items():
            layer, rank = layers[name], settings.rank
            weights = None if rank is None else budget(rank, layer.shape)
            if rank is not None and weights is not None:
                forms = candidates(rank, layer.shape, weights)
                found[name] = max(forms, key=lambda form: meter.of_layer(layer_cost(layer, settings, form)))
        return found

    def spent(self, recipe: Recipe, factors: Mapping[str, Factorization]) -> float:
        """What it spends of the budget."""
        if self.times is not None:
            return self.times.of_model(recipe.settings_of(self.info.layers))
        return self.target.meter.of_model(self.cost(recipe, factors))

    def spent_by(self, layer: Layer, settings: LayerSettings, rest: Layer | None = None) -> float:
        """The most that a layer, or what is left of it without some channels, spends with its settings."""
        if self.times is not None:
            return self.times.of_layer(layer.name, settings)
        return spent_by(layer, settings, self.target.meter, rest)

    def milliseconds(self, recipe: Recipe) -> float | None:
        """What it takes as the times of its layers let one foresee; None without them."""
        return None if self.times is None else self.spent(recipe, {}) / 1000

    def share(self, spent: float) -> float:
        """A number as a share of the original's."""
        return spent / (self.original or 1.0)

    def _with_held(self, recipe: Recipe) -> Recipe:
        locked = self.base.locked(self.info.layers)
        return recipe.with_layers(self.held).with_locks(name for name in self.held if name in locked)
