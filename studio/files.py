"""Writing files so that a failure leaves the old one whole."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from studio.errors import StudioError


def file_version(path: str) -> tuple[str, int, int]:
    """A file's path with its size and time, so that a file changed on disk is known as another.

    Raises:
        StudioError: there is no such file.
    """
    try:
        state = Path(path).stat()
    except OSError as error:
        raise StudioError(f"{path}: {(error.strerror or 'cannot be read').lower()}.") from error
    return str(Path(path).resolve()), state.st_size, state.st_mtime_ns


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then puts it in place in one step.

    Whatever goes wrong, `path` holds either its old content or the whole new one, and no temporary file stays behind.

    Args:
        path: the file to create or replace; its folder must exist.
        write: receives the temporary path and writes the content there.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    temporary.touch(exist_ok=False)  # as the umask has it: to read that is to set it, for all threads
    try:
        mode = (path if path.exists() else temporary).stat().st_mode & 0o777
        temporary.chmod(mode)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # some ten milliseconds, and a power failure spares it
        temporary.chmod(mode)  # a writer may have put another file there
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8; see `write_atomically`."""
    write_atomically(path, lambda temporary: _fill(temporary, text))


def keep_text(path: Path, text: str) -> None:
    """`write_text_atomically` for what the program keeps by itself, in a folder that is made when it is missing.

    Raises:
        StudioError: it cannot be written.
    """
    make_folder(path.parent)
    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise StudioError(f"{path}: cannot be written: {error.strerror}.") from error


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, unless it is there.

    Raises:
        StudioError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudioError(f"{path}: the folder cannot be made: {error.strerror}.") from error


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
