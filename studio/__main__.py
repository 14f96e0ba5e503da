"""``python -m studio``: the window, or a command when one is named."""

from studio.cli import run

if __name__ == "__main__":
    run()
