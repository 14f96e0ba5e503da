"""Writing files so that a failure leaves the old one whole."""

import os
import tempfile
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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # some ten milliseconds, and a power failure spares it
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8; see `write_atomically`."""
    write_atomically(path, lambda temporary: _fill(temporary, text))


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
