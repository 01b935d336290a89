"""Randomness is an argument: independent generators from one integer seed."""

from __future__ import annotations

import numpy as np
import torch

from surrogates.counts import whole


def streams(seed: int, n: int) -> list[torch.Generator]:
    """Independent random generators, one for each thing that is drawn.

    torch's CPU generator reads the lowest 32 bits of its seed and no more: ``manual_seed(5)`` and
    ``manual_seed(2**32 + 5)`` are the same generator. The seeds of the streams are therefore 32-bit words, distinct
    from each other, which NumPy's ``SeedSequence`` hashes from all bits of `seed`.

    Parameters
    ----------
    seed : integer >= 0, of any size
    n : number of streams >= 0

    Returns
    -------
    list of n torch.Generator on the CPU. Stream k depends on `seed` and k, not on n.

    Raises
    ------
    DataError
        If `seed` or `n` isn't an integer >= 0.

    Examples
    --------
    >>> weights, noise = streams(0, 2)
    >>> torch.equal(torch.rand(3, generator=weights), torch.rand(3, generator=noise))
    False
    """
    checked, count = whole(seed, "seed", least=0), whole(n, "n", least=0)
    # twice as many words as streams, so that words met before can be left out; prefixes don't depend on the length
    words = np.random.SeedSequence(checked).generate_state(2 * count + 16).tolist()
    return [torch.Generator().manual_seed(word) for word in list(dict.fromkeys(words))[:count]]
