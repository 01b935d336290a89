"""The library's own errors and warnings. Each message names the thing, what came, what was wanted, and the remedy."""

from __future__ import annotations


class DataError(ValueError):
    """Data that can't be used as given: missing names, NaN inputs, unknown labels, shapes that don't match."""


class UnitsError(DataError):
    """Units that are missing, unreadable, or of another dimension than the fitted model's."""


class FileFormatError(ValueError):
    """A file that isn't a saved surrogate, is damaged, or was written by a newer version."""


class ProblemError(ValueError):
    """A problem that can't be posed as given; the message names the part, what it gave and what was expected."""


class NumericalError(ArithmeticError):
    """An algorithm that can't go on, such as a covariance matrix that isn't positive definite."""


class MissingExtraError(ImportError):
    """An optional package that isn't installed; the message names the extra that brings it."""


class JitterWarning(UserWarning):
    """Something was added to a covariance matrix's diagonal; the message says how much."""


class FitWarning(UserWarning):
    """A fit that ended in a way its user should know of: not converged, a parameter at its bound, a constant target."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Error for an optional `package` that isn't installed, naming the `extra` that brings it.

    >>> print(missing_extra("matplotlib", "plots"))
    matplotlib is not installed; install it with: pip install "multitask-surrogates[plots]"
    """
    return MissingExtraError(
        f'{package} is not installed; install it with: pip install "multitask-surrogates[{extra}]"'
    )
