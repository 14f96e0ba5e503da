"""A short run of the damaged files; ``corrupted_files.py`` alone makes the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("corrupted_files.py")
FORMATS = (
    "onnx", "pt2", "safetensors", "state dict", "index of shards", "TorchScript", "recipe", "description", "arrays",
    "table", "image", "project",
)  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="memory is measured by the POSIX resource module")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, object]]:
    """What came of twenty damaged files of each format, by format."""
    arguments = [sys.executable, str(SCRIPT), "--count", "20", "--seed", "1", "--json", "--formats", *FORMATS]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return {row["format"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_opens_or_is_refused_in_one_line_that_names_it(found: dict[str, dict[str, object]], name: str):
    assert found[name]["faults"] == {}
    assert found[name]["opened"] + found[name]["refused"] == 20
    assert found[name]["refused"] > 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_takes_little_memory(found: dict[str, dict[str, object]], name: str):
    assert found[name]["grown_megabytes"] < 300
