"""placeholder"""
if __name__ != "surrogates.datasets":
    raise ImportError("this folder is the package surrogates.datasets; write 'import surrogates.datasets'")
