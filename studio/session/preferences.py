"""What the user prefers from one start to the next: theme and recent files, in a small YAML file."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from studio.errors import StudioError
from studio.export.latency import LatencySettings
from studio.files import keep_text
from studio.recipe.settings import Settings

log = logging.getLogger(__name__)

LONGEST_RECENT = 10


class Preferences(Settings):
    """Plain values; an unreadable file gives the defaults and a line in the log.

    Attributes:
        theme: colours.
        recent: files opened last, the latest first.
        skeletons: of the checkpoints among them, the file that gave the network.
        trusted: programs whose code may run, by SHA-256 of their bytes, with where they were.
        latency: how latency is measured.
    """

    theme: Literal["system", "light", "dark"] = "system"
    recent: Annotated[tuple[str, ...], Field(strict=False)] = ()
    skeletons: dict[str, str] = Field(default_factory=dict)
    trusted: dict[str, str] = Field(default_factory=dict)
    latency: LatencySettings = Field(default_factory=LatencySettings)

    def with_recent(self, path: str, skeleton: str | None = None) -> "Preferences":
        """The same with `path` as the most recent file."""
        recent = (path, *(other for other in self.recent if other != path))[:LONGEST_RECENT]
        known = self.skeletons | ({path: skeleton} if skeleton is not None else {})
        kept = {file: known[file] for file in recent if file in known}
        return self.model_copy(update={"recent": recent, "skeletons": kept})

    def skeleton_of(self, path: str) -> str | None:
        """The skeleton that a recent checkpoint was opened with, unless it is gone."""
        skeleton = self.skeletons.get(path)
        return skeleton if skeleton is not None and Path(skeleton).is_file() else None


def load_preferences(path: Path) -> Preferences:
    """Reads the preferences; the defaults when there are none."""
    if not path.exists():
        return Preferences()
    try:
        return Preferences.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read, the defaults hold: %s", path, error)
        return Preferences()


def save_preferences(preferences: Preferences, path: Path, failed: Callable[[StudioError], None]) -> None:
    """Writes the preferences; `failed` is told why they could not be, and they hold until the end all the same."""
    try:
        keep_text(path, yaml.safe_dump(preferences.model_dump(mode="json")))
    except StudioError as error:
        failed(error)
