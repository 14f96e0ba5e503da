"""The house rules that no single room can check: who imports whom, what loads what, how long things are."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import studio

PACKAGE = Path(studio.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "onnx", "onnxruntime", "onnxscript", "onnx_ir")
LONGEST_MODULE = 400
LONGEST_FUNCTION = 70


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def dotted(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_imports_keep_to_the_layers_of_the_house():
    # the same program that `bootstrap.py test` runs, so that `pytest` alone finds a broken contract too
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    root = PACKAGE.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_studio_loads_neither_torch_nor_qt():
    loaded = loaded_by("import studio")
    assert loaded.isdisjoint({*HEAVY, "PySide6", "numpy"})
    assert "studio" in loaded


@pytest.mark.parametrize("module", ["studio.gui.app", "studio.session.session", "studio.cli"])
def test_the_windows_process_loads_no_model_library(module: str):
    loaded = loaded_by(f"import {module}")
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["studio.engine.worker", "studio.engine.inline", "studio.cli"])
def test_the_engine_loads_no_qt(module: str):
    assert loaded_by(f"import {module}").isdisjoint({"PySide6", "pyqtgraph"})


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_says_what_it_is_for_and_stays_readable(path: Path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    assert len(source.splitlines()) <= LONGEST_MODULE
    long = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(tree)}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION} == {}


def test_rooms_are_two_levels_deep_at_most():
    depths = {dotted(path): len(path.relative_to(PACKAGE).parts) for path in MODULES}
    assert {name for name, depth in depths.items() if depth > 2} == set()
