"""Starting processes that train together on this machine; torch-free."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: Seconds that helpers get to end once there is nothing left to do.
_PATIENCE = 30.0


def is_helper() -> bool:
    """Whether this process has been started to help another (``torchrun`` sets RANK and WORLD_SIZE)."""
    return int(os.environ.get("RANK", "0")) > 0 and int(os.environ.get("WORLD_SIZE", "1")) > 1


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


@contextmanager
def helpers(processes: int) -> Iterator[None]:
    """Starts this very command in other processes, which help while the block runs; this one leads.

    Where ``torchrun`` has started them there is nothing to start.

    Args:
        processes: how many there are to be, this one included.
    """
    if processes == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    team = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [_started({**team, "RANK": str(rank), "OMP_NUM_THREADS": threads}) for rank in range(1, processes)]
    try:
        with _environment({**team, "RANK": "0"}):
            yield
    finally:
        for one in started:
            _ended(one)


def _started(variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "studio", *sys.argv[1:]]
    quiet = subprocess.DEVNULL  # the one that leads tells how it goes
    # a session of its own: an interrupt is for the one that leads, which ends the others in order
    return subprocess.Popen(  # noqa: S603 (this very command)
        command, env={**os.environ, **variables}, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Has these variables set while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
