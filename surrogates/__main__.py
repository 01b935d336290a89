"""``python -m surrogates``: the command line."""

from surrogates.cli import main

if __name__ == "__main__":
    main()
