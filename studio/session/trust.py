"""Programs that the user has trusted: remembered by content, opened by what they became, and taken back at will."""

from pathlib import Path
from typing import Protocol

from psygnal import Signal

from studio.engine.requests import TrustProgram
from studio.session.asking import Asker
from studio.session.preferences import Preferences


class _Opens(Protocol):
    """What trust needs of a session."""

    preferences: Preferences

    def open_model(self, path: str, skeleton: str | None = None) -> None: ...
    def _prefer(self, preferences: Preferences) -> None: ...
    def _fail(self, error: BaseException) -> None: ...


class Trust:
    """Turns trusted programs into archives and remembers for which of them the user consented.

    Args:
        session: opens them and keeps the preferences.
        asker: of the interactive engine.
        folder: where the archives are kept.

    Attributes:
        needed: emitted with the path and the fingerprint of a program that the user has not trusted yet.
    """

    needed = Signal(str, str)

    def __init__(self, session: _Opens, asker: Asker, folder: Path) -> None:
        self._session = session
        self._asker = asker
        self._folder = folder

    def ask(self, path: str, fingerprint: str) -> None:
        """Opens a program that was trusted before; asks for consent otherwise."""
        if fingerprint in self._session.preferences.trusted:
            self.give(path, fingerprint)
        else:
            self.needed.emit(path, fingerprint)

    def give(self, path: str, fingerprint: str) -> None:
        """Remembers the user's consent, has the program run once, and opens what it became.

        Args:
            path: the program.
            fingerprint: of the bytes that are trusted; others are not run.
        """
        self._remember({**self._session.preferences.trusted, fingerprint: path})
        self._asker.ask(
            TrustProgram(path, str(self._folder), fingerprint),
            lambda archive: self._session.open_model(path, archive),
            self._session._fail,
        )

    def take_back(self) -> int:
        """Forgets every consent and what came of it; returns how many there were."""
        trusted = self._session.preferences.trusted
        for fingerprint in trusted:
            for archive in self._folder.glob(f"{fingerprint}*.pt2"):
                archive.unlink(missing_ok=True)
        self._remember({})
        return len(trusted)

    def _remember(self, trusted: dict[str, str]) -> None:
        self._session._prefer(self._session.preferences.model_copy(update={"trusted": trusted}))
