"""Channels that go in steps, each trained before the next."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from studio.distillation.folder import STEPS, is_resumable, note_begun
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.distillation.student import Student
from studio.engine.channel_steps import step_epochs, step_recipes
from studio.engine.requests import Distill, Source
from studio.engine.workspace import Workspace
from studio.errors import TrainingError
from studio.progress import Cancelled, Progress, Report, silent
from studio.recipe.recipe import Recipe

WIDTHS = (12, 40, 40, 4)
SETTINGS = DistillSettings(
    epochs=4, batch_size=40, learning_rate=0.01, channel_steps=3, precision="float32", device="cpu"
)


def recipe(importance: str, **options: object) -> Recipe:
    channels = {"ratio": 0.6, "importance": importance}
    layers = {"layers.0": {"channels": channels}, "layers.1": {"channels": channels}}
    return Recipe.model_validate({"studio": 1, "layers": layers, "options": {"fit": "layer", **options}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network of linear layers with data that it labels itself."""
    random = np.random.default_rng(0)
    nodes, weights, value, rows = [], [], "x", random.normal(size=(400, 12)).astype(np.float32)
    scores = rows
    for number in range(3):
        matrix = (random.normal(size=(WIDTHS[number + 1], WIDTHS[number])) * (2 / WIDTHS[number]) ** 0.5).astype("f4")
        bias = random.normal(0, 0.1, WIDTHS[number + 1]).astype("f4")
        names = f"layers.{number}.weight", f"layers.{number}.bias"
        weights += [numpy_helper.from_array(one, name) for one, name in zip((matrix, bias), names, strict=True)]
        nodes.append(helper.make_node("Gemm", [value, *names], ["y" if number == 2 else f"h{number}"], transB=1))
        scores = np.maximum(scores, 0) if number else scores
        scores, value = scores @ matrix.T + bias, f"r{number}"
        if number < 2:
            nodes.append(helper.make_node("Relu", [f"h{number}"], [value]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size]) for n, size in (("x", 12), ("y", 4))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "net.onnx"
    )
    np.savez(tmp_path / "d.npz", x=rows, y=scores.argmax(1))
    (tmp_path / "d.data.yaml").write_text("source: d.npz\ninput: x\nlabel: y\nkind: tensor\nmetric: top1\n")
    return tmp_path


Train = Callable[..., DistillOutcome]


@pytest.fixture
def train(folder: Path) -> Train:
    """Asks an engine of its own to train."""

    def asked(
        chosen: Recipe,
        settings: DistillSettings = SETTINGS,
        *,
        run: str = "run",
        resume: bool = False,
        report: Report = silent,
        points: list[TrainingPoint] | None = None,
    ) -> DistillOutcome:
        data = str(folder / "d.data.yaml")
        (folder / "weights").mkdir(exist_ok=True)
        source = Source(str(folder / "net.onnx"), chosen, calibration=data)
        request = Distill(
            source, data, None, settings, str(folder / "weights"), checkpoints=str(folder / run), resume=resume
        )
        return Workspace().answer(request, report, [].append if points is None else points.append)

    return asked


def rows_of(outcome: DistillOutcome) -> dict[str, int]:
    """How many channels every layer has."""
    return {name: len(value) for name, value in load_file(outcome.weights).items() if name.endswith(".weight")}


@pytest.mark.parametrize("importance", ["output", "magnitude", "taylor"])
def test_the_last_step_has_the_recipes_channels_and_was_trained_all_the_way(train: Train, importance: str) -> None:
    points: list[TrainingPoint] = []

    outcome = train(recipe(importance), points=points)

    widths = rows_of(outcome)
    assert sorted(widths.values()) == [4, 16, 16]
    assert outcome.epochs == 4
    assert [point.step for point in points] == sorted(point.step for point in points)
    assert points[-1].step == points[-1].total_steps == 4 * 9  # 360 samples are learnt from
    assert outcome.after >= 70
    assert outcome.before <= outcome.teacher == 100


@pytest.mark.parametrize(("stop", "fit"), [(2, "layer"), (15, "layer"), (30, "sequential")])
def test_a_run_that_was_stopped_in_any_step_ends_with_the_very_weights(
    train: Train, folder: Path, stop: int, fit: str
) -> None:
    def stopping(progress: Progress) -> None:
        if progress.done == stop and "epoch" in progress.message:
            raise Cancelled

    chosen, whole, parts = recipe("output", fit=fit), list[TrainingPoint](), list[TrainingPoint]()
    expected = train(chosen, run="whole", points=whole)
    with pytest.raises(Cancelled):
        train(chosen, report=stopping)
    assert is_resumable(folder / "run")
    assert (folder / "run" / STEPS).exists() == (stop > 9)

    resumed = train(chosen, resume=True, points=parts)

    assert resumed.weights == expected.weights  # named by the hash of their content
    assert (resumed.before, resumed.after, resumed.epochs) == (expected.before, expected.after, expected.epochs)
    assert [(point.step, point.value) for point in parts] == [(point.step, point.value) for point in whole]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_was_stopped_before_its_first_step_begins_when_it_is_resumed(
    train: Train, folder: Path, steps: int
) -> None:
    def stop(_progress: Progress) -> None:
        raise Cancelled

    settings, points = SETTINGS.model_copy(update={"epochs": steps, "channel_steps": steps}), list[TrainingPoint]()
    with pytest.raises(TrainingError, match="there is no checkpoint to go on from"):
        train(recipe("magnitude"), settings, resume=True)
    note_begun(folder / "run")
    with pytest.raises(Cancelled):
        train(recipe("magnitude"), settings, report=stop)
    assert is_resumable(folder / "run")

    outcome = train(recipe("magnitude"), settings, resume=True, points=points)

    assert (points[0].step, points[-1].step, outcome.epochs) == (0, 9 * steps, steps)


def test_channels_gone_stay_gone_from_step_to_step(folder: Path, train: Train) -> None:
    train(recipe("magnitude"))
    steps = [load_file(path) for path in sorted((folder / "run").glob("*.safetensors")) if path.stem != "checkpoint"]
    assert sorted(len(step["layers.0.stored.weight"]) for step in steps) == [24, 32]


def test_steps_take_equal_parts_and_those_that_take_nothing_are_left_out(folder: Path) -> None:
    model = Workspace()._model(str(folder / "net.onnx"), None)
    chosen = recipe("output")

    def widths(steps: int) -> list[int]:
        found = step_recipes(chosen, model.info.layers, steps)
        return [one.narrowed(model.info.layers)["layers.0"].shape[0] for one in found]

    assert widths(3) == [32, 24, 16]
    assert widths(1) == [16]
    assert widths(100) == list(range(39, 15, -1))
    assert step_recipes(Recipe(), model.info.layers, 3) == [Recipe()]


def test_epochs_are_shared_out_and_the_last_steps_get_those_left_over() -> None:
    assert step_epochs(9, 3) == [3, 3, 3]
    assert step_epochs(8, 3) == [2, 3, 3]
    with pytest.raises(TrainingError, match="channel_steps: 3 steps need 3 epochs"):
        step_epochs(2, 3)


def test_what_does_not_go_with_steps_is_refused_in_one_line(train: Train) -> None:
    with pytest.raises(TrainingError, match="gradual pruning do not go together"):
        train(recipe("output"), SETTINGS.model_copy(update={"gradual": True}))


def test_a_run_of_other_settings_is_not_gone_on_with(train: Train, folder: Path) -> None:
    def stopping(progress: Progress) -> None:
        if progress.done == 15 and "epoch" in progress.message:
            raise Cancelled

    with pytest.raises(Cancelled):
        train(recipe("output"), report=stopping)

    with pytest.raises(TrainingError, match="belongs to another run"):
        train(recipe("output"), SETTINGS.model_copy(update={"learning_rate": 0.5}), resume=True)
    (folder / "run" / STEPS).write_text("half of it")
    with pytest.raises(TrainingError, match=r"steps\.json: the checkpoint is damaged"):
        train(recipe("output"), resume=True)


def test_cancelled_runs_leave_no_thread_no_file_and_nothing_in_memory(folder: Path) -> None:
    data, engine = str(folder / "d.data.yaml"), Workspace()
    (folder / "weights").mkdir()
    request = Distill(Source(str(folder / "net.onnx"), recipe("output")), data, None, SETTINGS, str(folder / "weights"))

    def stopping(progress: Progress) -> None:
        if progress.done == 20 and "epoch" in progress.message:
            raise Cancelled

    def cancelled() -> tuple[bool, int, set[threading.Thread], list[Path]]:
        """Whether it was, students in memory, threads that it began, and files of the run."""
        try:
            engine.answer(request, stopping)
            was = False
        except Cancelled:
            was = True
        gc.collect()
        students = sum(type(one) is Student for one in gc.get_objects())
        return (
            was,
            students,
            set(threading.enumerate()) - before,
            [*(folder / "weights").rglob("*"), *folder.glob("run*")],
        )

    before = set(threading.enumerate())
    first, *others = [cancelled() for _ in range(3)]

    assert first == (True, 0, set(), [])
    assert others == [first, first]
