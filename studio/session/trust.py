"""Programs that the user has trusted: remembered by content, opened by what they became, and taken back at will."""

from collections.abc import Callable
from pathlib import Path

from psygnal import Signal

from studio.engine.door import Call
from studio.engine.requests import TrustProgram
from studio.session.asking import Asker
from studio.session.preferences import Preferences


class Trust:
    """Turns trusted programs into archives and remembers for which of them the user consented.

    Args:
        asker: of the interactive engine.
        folder: of the session; archives are kept in ``trusted`` below it.
        preferences: what is preferred now, the consents among it.
        prefer: keeps other preferences.
        open_model: opens a program by the path of the archive that it became.
        failed: told why a program could not be turned into one.

    Attributes:
        needed: emitted with the path and the fingerprint of a program that the user has not trusted yet.
        under_way: the program that is run now, which is opened next unless this is cancelled.
    """

    needed = Signal(str, str)

    def __init__(
        self,
        asker: Asker,
        folder: Path,
        preferences: Callable[[], Preferences],
        prefer: Callable[[Preferences], None],
        open_model: Callable[[str, str], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._asker = asker
        self._folder = folder / "trusted"
        self._preferences = preferences
        self._prefer = prefer
        self._open_model = open_model
        self._failed = failed
        self.under_way: Call[str] | None = None

    def ask(self, path: str, fingerprint: str) -> None:
        """Opens a program that was trusted before; asks for consent otherwise."""
        if fingerprint in self._preferences().trusted:
            self.give(path, fingerprint)
        else:
            self.needed.emit(path, fingerprint)

    def give(self, path: str, fingerprint: str) -> None:
        """Remembers the user's consent, has the program run once, and opens what it became.

        Args:
            path: the program.
            fingerprint: of the bytes that are trusted; others are not run.
        """
        self._remember({**self._preferences().trusted, fingerprint: path})
        request = TrustProgram(path, str(self._folder), fingerprint)
        self.under_way = self._asker.ask(request, lambda archive: self._open_model(path, archive), self._failed)

    def take_back(self) -> int:
        """Forgets every consent and what came of it; returns how many there were."""
        trusted = self._preferences().trusted
        for fingerprint in trusted:
            for archive in self._folder.glob(f"{fingerprint}*.pt2"):
                archive.unlink(missing_ok=True)
        self._remember({})
        return len(trusted)

    def _remember(self, trusted: dict[str, str]) -> None:
        self._prefer(self._preferences().model_copy(update={"trusted": trusted}))
