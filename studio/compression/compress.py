"""A model and a recipe become a compressed model: a pure function."""

from collections.abc import Set
from pathlib import Path
from typing import Literal

from torch import fx, nn

from studio.analysis.calibration import Calibration
from studio.analysis.gradients import Gradients
from studio.compression.activations import find_all_levels, with_levels
from studio.compression.channels import with_arguments
from studio.compression.compressed import CompressedModel, with_layers
from studio.compression.modules import CompressedLayer, Factored
from studio.compression.plan import Plan, make_plan
from studio.compression.sequential import called_once, fit_in_order
from studio.compression.walk import within_memory
from studio.compression.weights import TrainedWeights, load_weights
from studio.errors import CompressionError
from studio.models.model import Model
from studio.models.sites import sites_of
from studio.progress import Progress, Report, silent
from studio.recipe.recipe import Recipe
from studio.recipe.rounding import integer_layers, rounded_layers, rounded_sites

__all__ = ["CompressedModel", "compress"]


def compress(
    model: Model,
    recipe: Recipe,
    *,
    calibration: Calibration | None = None,
    gradients: Gradients | None = None,
    weights: Path | None = None,
    previous: CompressedModel | None = None,
    report: Report = silent,
) -> CompressedModel:
    """Carries out a recipe.

    Args:
        model: the original, which stays as it is.
        recipe: settings by layer.
        calibration: what the layers' inputs look like; None fits to the weights alone.
        gradients: how the loss leans on every channel, for channels chosen by it; nothing else needs it.
        weights: file of trained weights (`studio.compression.weights`) to start from instead of the original's.
            Layers with the settings they were trained with get exactly the stored values.
        previous: made from the same model, calibration and weights: what this recipe leaves as it was there is
            taken over, so that one edit rebuilds one layer (in a sequential fit that layer and all behind it).
        report: told of every layer; raising `Cancelled` from it stops the work.

    Raises:
        RecipeError: the recipe does not fit the model.
        CompressionError: the weights file does not fit the model or is damaged, activations are to be rounded or
            channels to be chosen by the loss without data, or weights or activations are not finite.
    """
    recipe.check(model.info.layers)
    known, slopes = (calibration, gradients) if recipe.options.data_aware else (None, None)
    trained = load_weights(weights, model) if weights is not None else None
    if trained is None:
        plan, ready = make_plan(model, recipe, model.graph, known, {}, slopes), dict[str, CompressedLayer]()
    else:
        plan = make_plan(model, recipe, trained.graph, known, trained.cuts, slopes)
        ready = {name: trained.layers[name] for name in plan.settings if _same(name, plan, trained)}
    fit: Literal["layer", "sequential"] = "layer" if known is None else recipe.options.fit
    if previous is not None and previous.fit == fit and previous.recipe.options == recipe.options:
        ready |= _taken_over(model, previous, plan, fit)
    once = called_once(plan.graph)
    in_order = once if fit == "sequential" else frozenset()
    ready |= _each_alone(plan, ready.keys() | in_order, known, report)
    layers = dict[str, nn.Module](ready)
    if known is not None and plan.settings:
        # training has set the norms as it needs them, and a sequential fit those of the layers that are ready
        wanted = recipe.options.norm_recalibration and trained is None
        open_layers = once - (ready.keys() if fit == "sequential" else frozenset())
        recalibrate = open_layers if wanted else frozenset()
        layers |= fit_in_order(plan, ready, known.batches, report, recalibrate=recalibrate, scores=known.scores)
    factors = {name: layer.factorization for name, layer in layers.items() if isinstance(layer, Factored)}
    graph = with_layers(with_arguments(plan.graph, plan.arguments), layers)
    graph = _rounded(model, graph, plan, known, trained, report)
    fitted = layers if fit == "sequential" else ready
    return CompressedModel(model, recipe, graph, plan.settings, factors, fit, plan.cuts, fitted)


def _rounded(
    model: Model,
    graph: fx.GraphModule,
    plan: Plan,
    calibration: Calibration | None,
    trained: TrainedWeights | None,
    report: Report,
) -> fx.GraphModule:
    """The compressed graph with its activations rounded where the recipe says so.

    Raises:
        CompressionError: there is no data to learn ranges from.
    """
    settings, layers = plan.settings, rounded_layers(plan.settings)
    if not layers:
        return graph
    sites = sites_of(model.graph, model.info.layers)
    same = trained is not None and all(_same(name, plan, trained) for name in layers)
    if trained is not None and same and trained.levels.keys() == rounded_sites(sites.operators, layers):
        levels = trained.levels
    elif calibration is not None:
        methods = {n: s.quantize.activation_range for n, s in settings.items() if n in layers and s.quantize}
        batches = within_memory(graph, calibration.batches, 1)
        levels = find_all_levels(graph, sites, methods, batches, report)
    else:
        first = next(name for name in settings if name in layers)
        raise CompressionError(
            f"{first}: the ranges of rounded activations are learnt from data: choose training data (--calibration) "
            "and leave Fit to data (data_aware) on, or leave the activations (activation_bits) as they are."
        )
    return with_levels(graph, sites, levels, integer_layers(settings))


def _same(name: str, plan: Plan, before: CompressedModel | TrainedWeights) -> bool:
    """Whether a layer has the settings and the channels that it had before."""
    same = plan.settings.get(name) == before.settings.get(name)
    return same and plan.cuts.get(name) == before.cuts.get(name)


def _each_alone(
    plan: Plan,
    skip: Set[str],
    calibration: Calibration | None,
    report: Report,
) -> dict[str, CompressedLayer]:
    """The layer fit of every layer of the plan that is not in `skip`."""
    names = [name for name in plan.settings if name not in skip]
    built = dict[str, CompressedLayer]()
    for done, name in enumerate(names):
        report(Progress(done, len(names), f"Compressing {name}"))
        built[name] = plan.build(name, plan.layer_fit(name, calibration))
    return built


def _taken_over(model: Model, previous: CompressedModel, plan: Plan, fit: str) -> dict[str, CompressedLayer]:
    """Layers of `previous` that hold for `plan` too: in a sequential fit only those before the first difference."""
    same = dict[str, CompressedLayer]()
    for layer in model.info.layers:
        module = previous.fitted.get(layer.name)
        if not _same(layer.name, plan, previous):
            if fit == "sequential":
                break
        elif isinstance(module, CompressedLayer):
            same[layer.name] = module
    return same
