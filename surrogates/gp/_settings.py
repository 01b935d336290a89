"""gpytorch's settings: the only place that imports them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def exact() -> Iterator[None]:
    """Exact algebra in gpytorch: Cholesky at any size, kernels evaluated at once.

    Above 800 points its defaults change to conjugate gradients with a loose tolerance: log-likelihoods off by up to 17
    nats and variances by a factor of 8 were measured at 1,200 points. So no default of it is trusted silently.
    """
    from gpytorch import settings

    with ExitStack() as stack:
        stack.enter_context(settings.fast_computations(False, False, False))
        stack.enter_context(settings.max_cholesky_size(10**9))
        stack.enter_context(settings.lazily_evaluate_kernels(False))
        yield
