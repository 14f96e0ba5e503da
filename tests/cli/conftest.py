"""The command line, run in this process."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from studio.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["studio", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def answer(studio: Run) -> Callable[..., dict[str, Any]]:
    """The one JSON object of a command that succeeds."""

    def run(*arguments: object) -> dict[str, Any]:
        status, out, err = studio(*arguments, "--json")
        assert status == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    return run
