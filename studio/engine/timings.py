"""Written models and the time they take, for the engine's answers."""

from collections.abc import Callable, Mapping

from studio.compression.compress import CompressedModel
from studio.export.graph_edit import edited
from studio.export.graph_file import graph_content
from studio.export.latency import LatencySettings, TimeTable
from studio.export.onnx_file import onnx_bytes
from studio.export.timing import layer_times, median_ms, run_stopwatch
from studio.models.layer import Layer
from studio.models.model import Model
from studio.progress import Progress, Report
from studio.recipe.recipe import SETTABLE, Recipe, technique_of
from studio.recipe.rounding import integer_layers
from studio.recipe.settings import LayerSettings, Options
from studio.search.times import ORIGINAL


def written(compressed: CompressedModel) -> bytes:
    """The ONNX file of a compressed model, as an export writes it.

    Raises:
        ExportError: it cannot be written.
    """
    model = compressed.model
    if model.onnx is not None:
        return graph_content(edited(compressed))
    return onnx_bytes(compressed.graph, model.info, model.free_size, integer_layers(compressed.settings))


def written_original(model: Model) -> bytes:
    """The ONNX file of the original, as an export writes it.

    Raises:
        ExportError: it cannot be written.
    """
    if model.onnx is not None:
        return graph_content(model.onnx.proto)
    return onnx_bytes(model.graph, model.info, model.free_size)


def uniform(layers: tuple[Layer, ...], choice: LayerSettings, options: Options) -> Recipe:
    """All layers at one setting, but for those that cannot take it."""
    able = [layer.name for layer in layers if _takes(layer, choice)]
    return Recipe(options=options.model_copy(update={"fit": "layer"})).with_layers(dict.fromkeys(able, choice))


def time_table(
    model: Model,
    original: bytes,
    choices: Mapping[str, LayerSettings],
    compressed: Callable[[LayerSettings], CompressedModel],
    settings: LatencySettings,
    report: Report,
) -> TimeTable:
    """See `studio.engine.requests.TimeSettings`.

    Args:
        model: the original.
        original: its file.
        choices: settings by name.
        compressed: makes the model with all layers at a setting.
        settings: how to measure.
        report: receives progress in settings; may raise `Cancelled`.
    """
    layers: dict[str, dict[str, float]] = {layer.name: {} for layer in model.info.layers}
    rest: dict[str, float] = {}
    for done, name in enumerate((ORIGINAL, *choices)):
        report(Progress(done, len(choices) + 1, f"Timing layers: {name}"))
        content = original if name == ORIGINAL else written(compressed(choices[name]))
        found = run_stopwatch(model, [content], settings)
        taken, rest[name] = layer_times(model, content, found["kernels"][0], median_ms(found["laps"][0]))
        for layer, milliseconds in taken.items():
            layers[layer][name] = milliseconds
    return TimeTable(layers, rest)


def _takes(layer: Layer, choice: LayerSettings) -> bool:
    chosen = {method: getattr(choice, method) for method in SETTABLE}
    return all(layer.allows(technique_of(method, one)) for method, one in chosen.items() if one is not None)
