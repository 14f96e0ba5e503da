"""Runs that are stopped, killed and resumed."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from studio.compression.compress import CompressedModel, compress
from studio.distillation.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from studio.distillation.folder import FILE, forget, is_resumable
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.state import Before, RunState
from studio.distillation.train import Recovery, distill
from studio.errors import TrainingError
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.progress import Cancelled, Progress
from studio.recipe.recipe import Recipe

CHILD = Path(__file__).with_name("child.py")
SETTINGS = DistillSettings(epochs=3, batch_size=64, learning_rate=0.01)


@pytest.fixture
def small(model: Model) -> CompressedModel:
    layers = {
        "hidden": {"prune": {"kind": "unstructured", "ratio": 0.7}},
        "head": {"quantize": {"weight_bits": 4, "granularity": "channel"}},
    }
    return compress(model, Recipe.model_validate({"studio": 1, "layers": layers}))


def stop_at(step: int, message: str = "") -> Callable[[Progress], None]:
    """A report that cancels at the first progress of `step`, or later, whose message begins with `message`."""

    def report(progress: Progress) -> None:
        if progress.done >= step and progress.message.startswith(message):
            raise Cancelled

    return report


def same_weights(one: CompressedModel, other: CompressedModel) -> bool:
    mine, theirs = one.graph.state_dict(), other.graph.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def timeless(recovery: Recovery) -> dict[str, object]:
    return {name: value for name, value in vars(recovery).items() if name != "seconds"}


@pytest.mark.parametrize(
    "places", [[(1, "epoch")], [(28, "epoch")], [(28, "measuring")], [(57, "epoch"), (60, "epoch"), (84, "measuring")]]
)
def test_a_stopped_run_ends_with_the_very_weights_of_one_that_was_not(
    small: CompressedModel, data: Dataset, tmp_path: Path, places: list[tuple[int, str]]
) -> None:
    whole: list[TrainingPoint] = []
    parts: list[TrainingPoint] = []
    expected, recovery = distill(small, data, None, SETTINGS, publish=whole.append)

    for number, place in enumerate(places):
        with pytest.raises(Cancelled):
            distill(small, data, None, SETTINGS, checkpoints=tmp_path, resume=number > 0, report=stop_at(*place))
    trained, resumed = distill(small, data, None, SETTINGS, checkpoints=tmp_path, resume=True, publish=parts.append)

    assert same_weights(trained, expected)
    assert timeless(resumed) == timeless(recovery)
    assert [(p.step, p.loss, p.value, p.learning_rate) for p in parts] == [
        (p.step, p.loss, p.value, p.learning_rate) for p in whole
    ]
    assert [p.seconds for p in parts] == sorted(p.seconds for p in parts)


@pytest.mark.parametrize(
    "choice",
    [
        {"optimizer": "sgd"},
        {"average": 0.95},
        {"features": ("hidden",)},
        {"accumulate": 2, "patience": 1},
        {"learn_steps": True},
    ],
)
def test_every_choice_is_resumed_to_the_very_weights(
    small: CompressedModel, data: Dataset, tmp_path: Path, choice: dict[str, object]
) -> None:
    settings = SETTINGS.model_copy(update=choice)
    expected, recovery = distill(small, data, None, settings)
    with pytest.raises(Cancelled):
        distill(small, data, None, settings, checkpoints=tmp_path, report=stop_at(40, "epoch"))
    trained, resumed = distill(small, data, None, settings, checkpoints=tmp_path, resume=True)
    assert same_weights(trained, expected)
    assert timeless(resumed) == timeless(recovery)


def test_a_checkpoint_is_taken_at_every_interval(small: CompressedModel, data: Dataset, tmp_path: Path) -> None:
    steps: list[int] = []

    def look(progress: Progress) -> None:
        if progress.message.startswith("epoch") and progress.done > 1:
            steps.append(load_checkpoint(tmp_path).state.step)

    distill(
        small, data, None, SETTINGS.model_copy(update={"checkpoint_seconds": 0.0}), checkpoints=tmp_path, report=look
    )

    assert steps == list(range(1, 87))


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(
    small: CompressedModel, data: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(Cancelled):
        distill(small, data, None, SETTINGS, checkpoints=tmp_path, report=stop_at(3, "epoch"))
    other = SETTINGS.model_copy(update={"learning_rate": 0.02})

    with pytest.raises(TrainingError, match=r"learning_rate differs \(it was 0.01, now it is 0.02\)"):
        distill(small, data, None, other, checkpoints=tmp_path, resume=True)


def test_there_must_be_a_whole_checkpoint_to_go_on_from(small: CompressedModel, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        distill(small, data, None, SETTINGS, checkpoints=tmp_path, resume=True)
    (tmp_path / FILE).write_bytes(b"half of it")
    with pytest.raises(TrainingError, match="the checkpoint is damaged"):
        distill(small, data, None, SETTINGS, checkpoints=tmp_path, resume=True)


def test_a_run_that_was_stopped_before_its_first_step_leaves_nothing(
    small: CompressedModel, data: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(Cancelled):
        distill(small, data, None, SETTINGS, checkpoints=tmp_path / "run", report=stop_at(0))
    assert not (tmp_path / "run").exists()


def test_a_killed_process_leaves_a_readable_checkpoint_that_leads_to_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, str(CHILD), str(whole)], check=True, stdout=subprocess.DEVNULL)
    where = random.Random(5)
    reached = 0
    for sitting in range(5):
        arguments = [sys.executable, str(CHILD), str(killed), *(["resume"] if sitting else [])]
        kill_after = where.randint(1, 40)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line) >= reached + kill_after:
                    child.kill()
                    break
        saved = load_checkpoint(killed / "run").state.step
        assert saved >= reached
        reached = saved
    assert 0 < reached < 10 * 34

    subprocess.run([sys.executable, str(CHILD), str(killed), "resume"], check=True, stdout=subprocess.DEVNULL)

    (expected,), (found,) = (list((folder / "weights").iterdir()) for folder in (whole, killed))
    assert found.name == expected.name  # named by the hash of its content
    assert is_resumable(killed / "run")
    forget(killed / "run")
    assert not (killed / "run").exists()


def test_a_checkpoint_that_cannot_be_written_says_where_and_why(tmp_path: Path):
    (tmp_path / "file").touch()
    state = RunState(before=Before(teacher=90.0, watched=50.0, whole=50.0), ceiling=10.0, best=50.0)
    checkpoint = Checkpoint({}, state, {"student/weight": torch.zeros(2)}, {})
    with pytest.raises(TrainingError, match=r"file/run: the checkpoint cannot be written: .*Not a directory"):
        save_checkpoint(checkpoint, tmp_path / "file" / "run")
