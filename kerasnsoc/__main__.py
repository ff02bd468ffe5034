"""``python -m kerasnsoc`` is the `kerasnsoc` command."""

from kerasnsoc.cli import main

if __name__ == "__main__":
    main()
