"""The whole main job on a built-in sample, without a window: what ``studio demo`` does."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from studio.distillation.settings import DistillSettings
from studio.engine.door import Engine
from studio.engine.requests import Distill, Export, OpenModel, Preview, Request, Source
from studio.files import make_folder
from studio.progress import Report
from studio.recipe.files import load_recipe, save_recipe
from studio.resources import Sample

Answer = TypeVar("Answer")
ProgressBar = Callable[[], AbstractContextManager[Report]]


def run(engine: Engine, sample: Sample, folder: Path, progress_bar: ProgressBar) -> list[dict[str, Any]]:
    """Opens, compresses, distils, exports and verifies the sample, and takes a picture of the window.

    Args:
        engine: answers the requests.
        sample: model and data, with a ``demo.recipe.yaml`` beside the model.
        folder: receives the recipe, the exported model and ``window.png``, the first two under the sample's name; made
            when missing.
        progress_bar: shows the progress of one request.

    Returns:
        What each step found, in order: a ``step`` and its figures.

    Raises:
        StudioError: a step failed, such as an export that does not behave as its preview.
    """

    def ask(request: Request[Answer]) -> Answer:
        with progress_bar() as report:
            return engine.start(request, report=report).result()

    make_folder(folder)
    model, test, train = str(sample.model), str(sample.test), str(sample.train)
    recipe = load_recipe(sample.model.with_name("demo.recipe.yaml"))
    recipe_file = folder / f"{sample.name}.recipe.yaml"
    save_recipe(recipe, recipe_file)

    info = ask(OpenModel(model))
    source = Source(model, recipe, None, train)
    compressed = ask(Preview(source, test))
    outcome = ask(Distill(source, train, test, DistillSettings(epochs=1), str(folder)))
    distilled = Source(model, recipe, outcome.weights, train)
    report = ask(Export(distilled, str(folder / f"{sample.name}.onnx"), test))
    picture = import_module("studio.gui.screenshot").take(sample, recipe_file, folder / "window.png")
    return [
        {"step": "open", "model": model, "layers": len(info.layers), "bytes": info.bytes},
        {
            "step": "compress",
            "metric": compressed.metric.name,
            "original": compressed.original.value if compressed.original else None,
            "value": compressed.metric.value,
        },
        {"step": "distill", "before": outcome.before, "after": outcome.after, "seconds": outcome.seconds},
        {
            "step": "export",
            "out": report.out,
            "bytes": {"before": report.before, "predicted": report.predicted, "after": report.after},
            "preview": report.preview.value,
            "exported": report.exported.value,
            "verified": report.verified,
        },
        {"step": "screenshot", "out": str(picture)},
    ]
