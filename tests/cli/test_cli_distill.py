"""``studio distill`` with a student that is a model of its own."""

import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from studio.cli import main

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def distill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: exit status, the JSON object it printed, what it said."""

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", ["studio", "distill", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed, said = capsys.readouterr()
        return int(exit_.value.code or 0), json.loads(printed or "{}"), said

    return run


def saved(path: Path, seed: int, widths: tuple[int, ...]) -> Path:
    """A network of linear layers with ReLUs between them, as a file."""
    random = np.random.default_rng(seed)
    nodes, weights, value = [], [], "x"
    for number, (before, after) in enumerate(pairwise(widths)):
        name = f"layers.{number}"
        matrix = (random.normal(size=(after, before)) * (2 / before) ** 0.5).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"{name}.weight"),
            numpy_helper.from_array(random.normal(0, 0.1, after).astype(np.float32), f"{name}.bias"),
        ]
        last = number == len(widths) - 2
        nodes.append(
            helper.make_node(
                "Gemm", [value, *(w.name for w in weights[-2:])], ["y" if last else f"h{number}"], transB=1
            )
        )
        value = f"r{number}"
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{number}"], [value]))
    described = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", widths[0]), ("y", widths[-1]))
    ]
    graph = helper.make_graph(nodes, "net", described[:1], described[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The teacher with data that it labels itself, beside it as ``d.data.yaml``."""
    path = saved(tmp_path / "teacher.onnx", 0, (12, 48, 48, 48, 4))
    rows = np.random.default_rng(1).normal(size=(800, 12)).astype(np.float32)
    scores = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": rows})[0]
    np.savez(tmp_path / "d.npz", x=rows, y=scores.argmax(1))
    (tmp_path / "d.data.yaml").write_text("source: d.npz\ninput: x\nlabel: y\nkind: tensor\nmetric: top1\n")
    return path


def learning(folder: Path) -> list[object]:
    return ["--data", folder / "d.data.yaml", "--epochs", 8, "--batch-size", 40, "--learning-rate", 0.01]


def shapes(path: Path) -> list[list[int]]:
    weights = onnx.load(path).graph.initializer
    return sorted(list(weight.dims) for weight in weights if len(weight.dims) == 2)


def test_a_narrower_and_shallower_copy_is_made_taught_and_exported(distill: Run, teacher: Path, tmp_path: Path):
    out = tmp_path / "small.onnx"

    status, told, said = distill(teacher, *learning(tmp_path), "--width", 0.5, "--depth", 0.5, "--out", out)

    assert status == 0, said
    assert sorted(map(sorted, shapes(out))) == [[4, 24], [12, 24], [24, 24]]
    assert sum(len(weight.dims) == 1 for weight in onnx.load(out).graph.initializer) == 3  # biases
    assert told["verified"]
    assert told["metric"]["teacher"] == 100.0
    assert told["metric"]["after"] >= told["metric"]["before"] + 20
    assert not (tmp_path / "small.onnx.training").exists()


def test_another_file_is_taught_under_a_recipe_of_its_own(distill: Run, teacher: Path, tmp_path: Path):
    student, out = saved(tmp_path / "student.onnx", 5, (12, 32, 4)), tmp_path / "taught.onnx"
    recipe = tmp_path / "r.recipe.yaml"
    recipe.write_text("studio: 1\nlayers: {layers.0: {prune: {kind: unstructured, ratio: 0.5}}}\n")

    status, told, said = distill(teacher, *learning(tmp_path), "--student", student, "--recipe", recipe, "--out", out)

    assert status == 0, said
    assert told["metric"]["after"] >= told["metric"]["before"] + 20
    (hidden,) = (numpy_helper.to_array(w) for w in onnx.load(out).graph.initializer if 12 in w.dims)
    assert (hidden == 0).mean() == 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--student", "other.onnx"], "y of the student is float32 any×3, y of the teacher float32 any×4"),
        (["--student", "other.onnx", "--width", "0.5"], "give one"),
        (["--width", "0"], "--width: Input should be greater than 0"),
        (["--width", "1"], "choose less"),
        (["--width", "0.5", "--start", "middle"], "--start: Input should be 'new' or 'original'"),
    ],
)
def test_what_cannot_be_a_student_is_told_in_one_line(
    distill: Run, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
):
    saved(tmp_path / "other.onnx", 0, (12, 8, 3))
    np.savez(tmp_path / "d.npz", x=np.zeros((40, 12), np.float32), y=np.zeros(40, np.int64))
    monkeypatch.chdir(tmp_path)

    status, _, said = distill(teacher, *learning(tmp_path), *arguments, "--out", tmp_path / "out.onnx")

    assert status == 2
    assert words in said.replace("\n", " ")
    assert not (tmp_path / "out.onnx").exists()


def test_two_processes_train_together_and_one_of_them_exports(distill: Run, teacher: Path, tmp_path: Path):
    out = tmp_path / "small.onnx"

    status, told, said = distill(teacher, *learning(tmp_path), "--width", 0.5, "--processes", 2, "--out", out)

    assert status == 0, said
    assert told["verified"]
    assert told["metric"]["after"] >= told["metric"]["before"] + 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.data.yaml", "d.npz", "small.onnx", "teacher.onnx"]
    assert "WORLD_SIZE" not in os.environ


def test_channels_go_in_steps_and_the_file_has_the_recipes_widths(distill: Run, teacher: Path, tmp_path: Path):
    recipe, out = tmp_path / "r.recipe.yaml", tmp_path / "small.onnx"
    recipe.write_text("studio: 1\ndefault: {channels: {ratio: 0.5}}\n")

    status, told, said = distill(teacher, *learning(tmp_path), "--recipe", recipe, "--channel-steps", 3, "--out", out)

    assert status == 0, said
    assert sorted(map(sorted, shapes(out))) == [[4, 24], [12, 24], [24, 24], [24, 24]]
    assert told["verified"]
    assert told["epochs"] == 8
    assert not (tmp_path / "small.onnx.training").exists()
