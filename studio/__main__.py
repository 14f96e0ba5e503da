"""``python -m studio``: the window, or a command when one is named."""

from studio.cli import main

if __name__ == "__main__":
    main()
