"""Physical laws in SI units; nothing here learns, and nothing here knows of models."""

if __name__ != "surrogates.physics":
    raise ImportError("this folder is the package surrogates.physics; write 'import surrogates.physics'")
