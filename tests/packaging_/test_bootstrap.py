"""`packaging/bootstrap.py`, loaded by its path: it is a script for machines that have nothing installed yet."""

import re
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging" / "bootstrap.py"


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module whose virtual environment would stand in an empty folder."""
    spec = spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "setup.stamp")
    return module


class Programs:
    """Stands in for `subprocess.run`: keeps the commands and ends those whose words include a failing one with 1."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str] | None] = []

    def __call__(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        self.environments.append(options.get("env"))
        failed = any(word in command or Path(command[0]).name == word for word in self.failing)
        return subprocess.CompletedProcess(command, int(failed), stdout="")

    @property
    def names(self) -> list[str]:
        return [Path(command[0]).name for command in self.commands]


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libxcb-cursor.so.0", "libxcb-cursor0"),
        ("libxcb-dri3.so.0", "libxcb-dri3-0"),
        ("libX11.so.6", "libx11-6"),
        ("libGL.so.1", "libgl1"),
        ("libdbus-1.so.3", "libdbus-1-3"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libnss3.so", "libnss3"),
        ("libsmime3.so", "libnss3"),
    ],
)
def test_a_missing_library_leads_to_its_debian_package(bootstrap: ModuleType, library: str, package: str):
    assert bootstrap.debian_package(library) == package


def test_libraries_that_ldd_does_not_find_are_listed_once(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch):
    missing, found = "\tlibxcb-icccm.so.4 => not found\n", "\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n"
    said = f"plugin:\n{missing}{found}engine:\n{missing}"
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(bootstrap, "output", lambda command: said)
    qt = bootstrap.VENV / "lib/python3.11/site-packages/PySide6/Qt/plugins/platforms"
    qt.mkdir(parents=True)
    (qt / "libqxcb.so").touch()
    assert bootstrap.missing_libraries() == {"libxcb-icccm.so.4"}


def test_without_the_right_to_install_the_exact_command_is_printed(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    programs = Programs()
    monkeypatch.setattr(bootstrap.subprocess, "run", programs)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(bootstrap, "root_prefix", lambda: None)
    bootstrap.install_system_packages(["libxcb-cursor0", "libxcb-icccm4"])
    assert "sudo apt-get install libxcb-cursor0 libxcb-icccm4" in capsys.readouterr().out
    assert programs.commands == []


def test_as_root_the_packages_are_installed_under_their_present_names(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    programs = Programs()
    monkeypatch.setattr(bootstrap.subprocess, "run", programs)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(bootstrap, "root_prefix", lambda: ["sudo", "-n"])
    monkeypatch.setattr(bootstrap, "output", lambda command: "found" if command[-1] == "libasound2t64" else "")
    bootstrap.install_system_packages(["libasound2", "libgl1"])
    assert programs.commands[-1][:4] == ["sudo", "-n", "/usr/bin/apt-get", "install"]
    assert programs.commands[-1][-2:] == ["libasound2t64", "libgl1"]


def test_an_unsupported_python_hands_over_to_a_supported_one(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch):
    programs = Programs("python3.12")  # a shim without the Python it stands for
    monkeypatch.setattr(bootstrap.subprocess, "run", programs)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 0, "final", 0))
    with pytest.raises(SystemExit) as ended:
        bootstrap.use_supported_python()
    assert ended.value.code == 0
    assert programs.commands[-1] == ["python3.13", *sys.argv]


def test_without_a_supported_python_it_says_what_to_install(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 14, 0, "final", 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11, 3\.12 or 3\.13.*Install Python 3\.12"):
        bootstrap.use_supported_python()


def test_a_second_setup_installs_nothing(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch):
    programs = Programs()
    monkeypatch.setattr(bootstrap.subprocess, "run", programs)
    monkeypatch.setattr(bootstrap, "missing_packages", lambda with_display_server: [])
    bootstrap.venv_python().parent.mkdir(parents=True)
    bootstrap.venv_python().touch()
    bootstrap.setup()
    assert any("install" in command for command in programs.commands)
    programs.commands.clear()
    bootstrap.setup()
    assert not any("install" in command for command in programs.commands)


def test_a_failed_install_is_not_taken_for_done(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap.subprocess, "run", Programs("install"))
    bootstrap.venv_python().parent.mkdir(parents=True)
    bootstrap.venv_python().touch()
    with pytest.raises(SystemExit, match="this command failed"):
        bootstrap.setup()
    assert not bootstrap.STAMP.exists()


@pytest.mark.parametrize(
    ("failing", "expected"), [((), 0), (("mypy",), 1), (("pytest",), 1)], ids=["all pass", "mypy fails", "pytest fails"]
)
def test_test_runs_every_check_and_pytest_last(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...], expected: int
):
    programs = Programs(*failing)
    monkeypatch.setattr(bootstrap.subprocess, "run", programs)
    monkeypatch.setattr(bootstrap, "setup", lambda with_display_server: None)
    assert bootstrap.test(["-k", "name"]) == expected
    assert programs.names == ["ruff", "ruff", "mypy", "lint-imports", "pytest"]
    assert programs.commands[-1][-2:] == ["-k", "name"]


def test_tests_open_no_window_unless_asked_to(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    assert bootstrap.headless_environment()["QT_QPA_PLATFORM"] == "offscreen"
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    assert bootstrap.headless_environment()["QT_QPA_PLATFORM"] == "xcb"


@pytest.mark.parametrize(
    ("display", "command"), [(True, ["app", "--sample", "digits"]), (False, ["demo"])], ids=["display", "no display"]
)
def test_run_opens_the_window_where_there_is_a_display(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, display: bool, command: list[str]
):
    programs = Programs()
    monkeypatch.setattr(bootstrap.subprocess, "run", programs)
    monkeypatch.setattr(bootstrap, "setup", lambda: None)
    monkeypatch.setattr(bootstrap, "has_display", lambda: display)
    assert bootstrap.run([]) == 0
    assert programs.commands == [[str(bootstrap.venv_python()), "-m", "studio", *command]]


def test_the_script_says_how_it_is_used():
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    assert re.search(r"\{run,test,setup\}", done.stdout)


def test_the_constraints_pin_every_direct_dependency_exactly():
    lines = (ROOT / "packaging" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower() for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "samples"}
    needed = [*project["dependencies"], *chain.from_iterable(extras.values())]
    assert {re.split(r"[><=]", one)[0].lower() for one in needed} == pinned
