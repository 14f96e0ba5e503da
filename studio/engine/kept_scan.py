"""A scan's points on disk while it runs, so that one that was stopped goes on where it was."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from platformdirs import user_cache_path

from studio.errors import DataError
from studio.evaluation.sensitivity import Scan, ScanPoint, load_scan, save_scan
from studio.files import make_folder

#: Seconds between two writes of the file.
INTERVAL = 5.0


class KeptScan:
    """The points so far, written every few seconds and at the end, however the work ends.

    Args:
        key: hash of what the points depend on.
        left_out: by layer and method, why it is not tried.
        path: the file, which is continued; None takes one of the user's cache.

    Raises:
        DataError: `path` holds something else than a scan of this key.
        StudioError: its folder cannot be made.
    """

    def __init__(self, key: str, left_out: Mapping[str, Mapping[str, str]], path: Path | None = None) -> None:
        self._path = path or user_cache_path("compression-studio") / "scans" / f"{key}.json"
        self._written = time.monotonic()
        make_folder(self._path.parent)
        self.scan = load_scan(self._path) if self._path.exists() else Scan(key=key, left_out=left_out)
        if self.scan.key != key:
            raise DataError(f"{self._path}: is a scan of another model, data or settings; choose another file.")

    def add(self, point: ScanPoint) -> None:
        """Takes in a new point."""
        self.scan = self.scan.with_point(point)
        if time.monotonic() - self._written >= INTERVAL:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._write()

    def _write(self) -> None:
        save_scan(self.scan, self._path)
        self._written = time.monotonic()
