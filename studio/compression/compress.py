"""A model and a recipe become a compressed model: a pure function."""

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Literal

from torch import fx

from studio.analysis.calibration import Calibration
from studio.analysis.inputs import layer_at
from studio.compression.build import build_layer
from studio.compression.compressed import CompressedModel, with_layers
from studio.compression.fit import layer_fit
from studio.compression.modules import CompressedLayer, Factored
from studio.compression.sequential import called_once, fit_in_order
from studio.compression.weights import load_weights
from studio.models.layer import Layer
from studio.models.model import Model
from studio.progress import Progress, Report, silent
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings

__all__ = ["CompressedModel", "compress"]


def compress(
    model: Model,
    recipe: Recipe,
    *,
    calibration: Calibration | None = None,
    weights: Path | None = None,
    previous: CompressedModel | None = None,
    report: Report = silent,
) -> CompressedModel:
    """Carries out a recipe.

    Args:
        model: the original, which stays as it is.
        recipe: settings by layer.
        calibration: what the layers' inputs look like; None fits to the weights alone.
        weights: file of trained weights (`studio.compression.weights`) to start from instead of the original's.
            Layers with the settings they were trained with get exactly the stored values.
        previous: made from the same model, calibration and weights: what this recipe leaves as it was there is
            taken over, so that one edit rebuilds one layer (in a sequential fit that layer and all behind it).
        report: told of every layer; raising `Cancelled` from it stops the work.

    Raises:
        RecipeError: the recipe does not fit the model.
        CompressionError: the weights file does not fit the model or is damaged.
    """
    recipe.check(model.info.layers)
    plan = {layer.name: settings for layer, settings in _settings(model, recipe) if not settings.is_empty}
    graph, ready = model.graph, dict[str, CompressedLayer]()
    if weights is not None:
        trained = load_weights(weights, model)
        graph = trained.graph
        ready = {name: trained.layers[name] for name in plan if trained.settings.get(name) == plan[name]}
    known = calibration if recipe.options.data_aware else None
    fit: Literal["layer", "sequential"] = "layer" if known is None else recipe.options.fit
    if previous is not None and previous.fit == fit and previous.recipe.options == recipe.options:
        ready |= _taken_over(model, previous, plan, fit)
    if known is not None and fit == "sequential":
        once = called_once(graph)
        ready |= _each_alone(graph, plan, ready.keys() | once, known, report)
        ready |= fit_in_order(graph, plan, ready, known.batches, report)
    else:
        ready |= _each_alone(graph, plan, ready.keys(), known, report)
    factors = {name: layer.factorization for name, layer in ready.items() if isinstance(layer, Factored)}
    return CompressedModel(model, recipe, with_layers(graph, ready), plan, factors, fit)


def _settings(model: Model, recipe: Recipe) -> Iterator[tuple[Layer, LayerSettings]]:
    for layer in model.info.layers:
        yield layer, recipe.settings_for(layer)


def _each_alone(
    graph: fx.GraphModule,
    plan: Mapping[str, LayerSettings],
    skip: Set[str],
    calibration: Calibration | None,
    report: Report,
) -> dict[str, CompressedLayer]:
    """The layer fit of every layer of the plan that is not in `skip`."""
    names = [name for name in plan if name not in skip]
    built = dict[str, CompressedLayer]()
    for done, name in enumerate(names):
        report(Progress(done, len(names), f"Compressing {name}"))
        layer = layer_at(graph, name)
        built[name] = build_layer(layer, plan[name], layer_fit(name, layer, calibration))
    return built


def _taken_over(
    model: Model, previous: CompressedModel, plan: Mapping[str, LayerSettings], fit: str
) -> dict[str, CompressedLayer]:
    """Layers of `previous` that hold for `plan` too: in a sequential fit only those before the first difference."""
    same = dict[str, CompressedLayer]()
    for layer in model.info.layers:
        module = previous.graph.get_submodule(layer.name)
        if plan.get(layer.name) != previous.settings.get(layer.name):
            if fit == "sequential":
                break
        elif isinstance(module, CompressedLayer):
            same[layer.name] = module
    return same
