"""placeholder"""
if __name__ != "surrogates.physics":
    raise ImportError("this folder is the package surrogates.physics; write 'import surrogates.physics'")
