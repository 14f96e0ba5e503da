"""Training by several processes: the same curve as by one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch

from studio.distillation.devices import choose_device
from studio.distillation.processes import free_port, is_helper
from studio.distillation.settings import TrainingPoint
from studio.distillation.team import Team, joined
from studio.distillation.train import distill

SCRIPT = Path(__file__).with_name("helper.py")
helper = SimpleNamespace(**run_path(str(SCRIPT)))


def test_two_processes_give_the_curve_of_one_with_the_double_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    student, data = helper.lessons()
    alone, together = list[TrainingPoint](), list[TrainingPoint]()
    single, _ = distill(student, data, None, helper.settings(32), publish=alone.append)
    team = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in {**team, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    script = [sys.executable, str(SCRIPT)]
    paths = os.pathsep.join(sys.path)
    with subprocess.Popen(script, env={**os.environ, "RANK": "1", "PYTHONPATH": paths}) as other:
        with joined(choose_device("cpu")) as processes:
            double, _ = distill(student, data, None, helper.settings(16), team=processes, publish=together.append)
        assert other.wait(60) == 0

    assert [point.step for point in together] == [point.step for point in alone]
    assert [point.loss for point in together] == pytest.approx([point.loss for point in alone], rel=1e-4)
    assert together[-1].value == alone[-1].value
    for mine, theirs in zip(single.graph.parameters(), double.graph.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_every_sample_of_a_step_is_in_one_share() -> None:
    shares = [Team(rank, 3).share(7) for rank in range(3)]

    assert [list(range(7))[share] for share in shares] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [list(range(1))[Team(rank, 2).share(1)] for rank in range(2)] == [[0], []]


def test_a_process_knows_whether_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_helper()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert not is_helper()
    monkeypatch.setenv("RANK", "1")
    assert is_helper()
