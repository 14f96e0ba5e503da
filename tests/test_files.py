"""Files are written whole or not at all, and whoever cannot write one is told where."""

import os
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.files import keep_text, make_folder, write_atomically, write_text_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_holds_the_old_text_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    write_text_atomically(path, "old")

    def write(temporary: Path) -> None:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"

    write_atomically(path, write)
    assert path.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["recipe.yaml"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    write_text_atomically(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["recipe.yaml"]


@pytest.mark.skipif(os.name != "posix", reason="asks for POSIX file modes")
def test_a_new_file_has_the_mode_that_the_umask_leaves_and_an_old_one_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch(0o600)
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.delattr(os, "umask")  # it is the whole process's: two threads that set it for a moment may leave it 0
            write_text_atomically(new, "text")
            write_text_atomically(old, "text")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o640, 0o600]


def test_what_is_kept_makes_its_folder(tmp_path: Path):
    keep_text(tmp_path / "runs" / "a" / "run.json", "{}")
    assert (tmp_path / "runs" / "a" / "run.json").read_text(encoding="utf-8") == "{}"


def test_where_nothing_can_be_kept_the_user_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StudioError, match=r"file/runs: the folder cannot be made: Not a directory\."):
        make_folder(tmp_path / "file" / "runs")
    with pytest.raises(StudioError, match=r"folder: cannot be written: Is a directory\."):
        keep_text(tmp_path / "folder", "text")
