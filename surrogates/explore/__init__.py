"""Look into a fitted surrogate in a browser: a slice along every input, with what is known and how well."""

from .server import Server, explore

__all__ = ["Server", "explore"]
