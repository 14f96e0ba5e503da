"""Sets the project up in its own folder and starts or tests it: ``python3 packaging/bootstrap.py run|test|setup``.

Needs nothing but a Python; it makes ``.venv`` beside ``pyproject.toml``, installs the project with the pinned
versions of ``constraints.txt`` there, and sees to the system libraries that Qt needs on Debian and Ubuntu. Where
they can only be installed by an administrator it says how and goes on with what is possible. A second run finds
everything in place and starts at once.
"""

from __future__ import annotations  # the check for an old Python has to run on an old Python

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
STAMP = VENV / "setup.stamp"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
PREFERRED = ("3.12", "3.13", "3.11")

#: Processes of the test suite; one that computes leaves its threads little more than a core.
PROCESSES = min(4, os.cpu_count() or 2)

#: Libraries whose Debian package is not named after them by the rule of `debian_package`.
PACKAGES_BY_LIBRARY = {
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libnssutil3.so": "libnss3",
    "libsmime3.so": "libnss3",
    "libplc4.so": "libnspr4",
    "libplds4.so": "libnspr4",
}


def say(text: str) -> None:
    """Prints one line at once, so that it stands before the output of what is started next."""
    print(f"bootstrap: {text}", flush=True)


# --- Python ---------------------------------------------------------------------------------------------------------


def use_supported_python() -> None:
    """Starts this script anew under a Python the project supports, unless this one is.

    Raises:
        SystemExit: with the other Python's exit status, or with what to install when there is none.
    """
    if sys.version_info[:2] in SUPPORTED:
        return
    python = find_python()
    if python is None:
        raise SystemExit(
            f"Compression Studio needs Python 3.11, 3.12 or 3.13; this is {sys.version.split()[0]} and no other one was"
            " found. Install Python 3.12 and start this script with it."
        )
    raise SystemExit(subprocess.run([*python, *sys.argv], check=False).returncode)


def find_python() -> list[str] | None:
    """The command that starts a supported Python on this machine, or None."""
    candidates = [[f"python{version}"] for version in PREFERRED]
    if os.name == "nt":
        candidates += [["py", f"-{version}"] for version in PREFERRED]
    for command in candidates:
        # a launcher or shim may be there without the Python it stands for, so each one is tried
        if shutil.which(command[0]) and succeeds([*command, "-c", "pass"]):
            return command
    return None


def venv_python() -> Path:
    """The virtual environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


# --- set-up ---------------------------------------------------------------------------------------------------------


def setup(with_display_server: bool = False) -> None:
    """Makes the virtual environment, installs the project and the system libraries; instant when all is in place.

    Args:
        with_display_server: also wants Xvfb, in which the tests open real windows.
    """
    if not (STAMP.exists() and STAMP.read_text(encoding="utf-8") == fingerprint() and venv_works()):
        make_venv()
        install_project()
        STAMP.write_text(fingerprint(), encoding="utf-8")
    if sys.platform == "linux":
        install_system_packages(missing_packages(with_display_server))


def fingerprint() -> str:
    """Changes whenever the installed packages have to."""
    files = b"".join(path.read_bytes() for path in (ROOT / "pyproject.toml", CONSTRAINTS))
    return hashlib.sha256(files + str(ROOT).encode()).hexdigest()


def venv_works() -> bool:
    """Whether the virtual environment's interpreter starts; it does not after its Python was removed."""
    return venv_python().exists() and succeeds([str(venv_python()), "-c", "import pip"])


def make_venv() -> None:
    """Makes ``.venv`` unless there is one that works."""
    if venv_works():
        return
    # Debian and Ubuntu leave ensurepip to a package of its own
    if not succeeds([sys.executable, "-c", "import ensurepip, venv"]):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        install_system_packages([package])
        if not succeeds([sys.executable, "-c", "import ensurepip, venv"]):
            raise SystemExit(f"This Python cannot make virtual environments: apt install {package}")
    say(f"making {VENV} with Python {sys.version.split()[0]}")
    check([sys.executable, "-m", "venv", "--clear", str(VENV)])


def install_project() -> None:
    """Installs the project, editable, with its pinned dependencies; pip's own settings decide from where."""
    say("installing the project and its dependencies (this takes a few minutes the first time)")
    pip = [str(venv_python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    check([*pip, "--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}[dev]"])


# --- system libraries on Linux --------------------------------------------------------------------------------------


def missing_packages(with_display_server: bool) -> list[str]:
    """Debian packages that Qt needs and this machine lacks."""
    packages = {debian_package(library) for library in missing_libraries()}
    if not any(Path("/usr/share/fonts").rglob("*.[to]tf")):
        packages.add("fonts-dejavu-core")  # Qt brings no fonts along and draws no text without any
    if with_display_server and shutil.which("Xvfb") is None:
        packages.add("xvfb")
    return sorted(packages)


def missing_libraries() -> set[str]:
    """Shared libraries that Qt's X11 platform plugin and web engine do not find, such as ``libxcb-cursor.so.0``."""
    if shutil.which("ldd") is None:
        return set()
    qt_files = ("plugins/platforms/libqxcb.so", "libexec/QtWebEngineProcess", "lib/libQt6WebEngineWidgets.so.6")
    files = [str(file) for name in qt_files for file in VENV.glob(f"lib/python*/site-packages/PySide6/Qt/{name}")]
    found = output(["ldd", *files])
    return set(re.findall(r"^\s*(\S+) => not found", found, flags=re.MULTILINE))


def debian_package(library: str) -> str:
    """The package of a shared library: its name and version, with a hyphen between two digits (Debian Policy 8.1)."""
    if library in PACKAGES_BY_LIBRARY:
        return PACKAGES_BY_LIBRARY[library]
    stem, _, version = library.lower().partition(".so")
    hyphen = "-" if stem[-1].isdigit() and version else ""
    return stem + hyphen + version.lstrip(".")


def install_system_packages(packages: list[str]) -> None:
    """Installs Debian packages as far as this user may, and otherwise says what an administrator has to do."""
    if not packages:
        return
    apt = shutil.which("apt-get")
    become_root = root_prefix() if apt else None
    if apt is None or become_root is None:
        advice = f"run: sudo apt-get install {' '.join(packages)}" if apt else "install what corresponds to them"
        say(f"missing on this system: {' '.join(packages)}; {advice}")
        return
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*become_root, apt, "update", "-qq"], env=environment, check=False)
    names = [current_name(package) for package in packages]
    install = [*become_root, apt, "install", "-qq", "-y", "--no-install-recommends", *names]
    if subprocess.run(install, env=environment, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        say(f"could not install them; run: sudo apt-get install {' '.join(names)}")


def root_prefix() -> list[str] | None:
    """What to put before a command so that root runs it without being asked for a password; None when nothing does."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if shutil.which("sudo") and succeeds(["sudo", "-n", "true"]) else None


def current_name(package: str) -> str:
    """The name of `package` in this release: Ubuntu 24.04 and Debian 13 added ``t64`` to some, for 64-bit time."""
    renamed = f"{package}t64"
    return renamed if output(["apt-cache", "show", "--no-all-versions", renamed]) else package


# --- commands -------------------------------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """Opens the window on the sample, or without a display does the whole job on it in the terminal."""
    setup()
    if has_display():
        return studio(["app", "--sample", "digits", *arguments])
    say("no display: running the demonstration without a window")
    return studio(["demo", *arguments], headless_environment())


def studio(arguments: list[str], environment: dict[str, str] | None = None) -> int:
    """Starts the program and returns its exit status."""
    return status([str(venv_python()), "-m", "studio", *arguments], environment)


def has_display() -> bool:
    """Whether a window can be opened."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def test(arguments: list[str]) -> int:
    """Runs the static checks and then the suite; `arguments` go to pytest."""
    setup(with_display_server=sys.platform == "linux")
    environment = headless_environment()
    checks = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ]
    failed = [" ".join(step) for step in checks if tool(step, environment) != 0]
    # a failed check is told before pytest starts, so that pytest's summary is what a reader finds at the end
    for step in failed:
        say(f"FAILED: {step}")
    # a file's tests stay together: its fixtures are made once
    tests = tool(["pytest", f"--numprocesses={PROCESSES}", "--dist=loadfile", *arguments], environment)
    return tests or (1 if failed else 0)


def tool(command: list[str], environment: dict[str, str]) -> int:
    """Runs a program of the virtual environment and returns its exit status."""
    say(f"$ {' '.join(command)}")
    return status([str(venv_python().with_name(command[0])), *command[1:]], environment)


def headless_environment() -> dict[str, str]:
    """The environment in which no window appears and the cores are not fought over."""
    environment = dict(os.environ)
    environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    environment.setdefault("OMP_NUM_THREADS", str(max(1, min(4, (os.cpu_count() or 2) // 2))))
    if sys.platform == "linux" and os.geteuid() == 0:
        environment["QTWEBENGINE_DISABLE_SANDBOX"] = "1"  # Chromium's sandbox refuses to run as root
    return environment


# --- processes ------------------------------------------------------------------------------------------------------


def succeeds(command: list[str]) -> bool:
    """Whether `command` ends with status 0; its output is dropped."""
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def output(command: list[str]) -> str:
    """What `command` prints, without its complaints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True)
    return done.stdout.strip()


def status(command: list[str], environment: dict[str, str] | None = None) -> int:
    """Runs `command` in the project's folder and returns its exit status."""
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def check(command: list[str]) -> None:
    """Runs a command that must not fail.

    Raises:
        SystemExit: it failed; its own output above says why.
    """
    if status(command) != 0:
        raise SystemExit(f"bootstrap: this command failed: {' '.join(command)}")


def main() -> int:
    """Reads the command line and carries it out."""
    parser = argparse.ArgumentParser(description="Set up, start or test Compression Studio.")
    parser.add_argument("command", choices=("run", "test", "setup"), help="what to do")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the program or to pytest")
    chosen = parser.parse_args()
    use_supported_python()
    if chosen.command == "setup":
        setup()
        say(f"ready: {venv_python()} -m studio")
        return 0
    return run(chosen.arguments) if chosen.command == "run" else test(chosen.arguments)


if __name__ == "__main__":
    sys.exit(main())
