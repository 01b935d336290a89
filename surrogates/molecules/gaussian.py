"""Gaussian processes with a Tanimoto kernel, for few labels; placeholder until the kernel is merged."""
from dataclasses import dataclass
@dataclass(frozen=True)
class GaussianProcesses:
    def fit(self, training, *, seed):
        raise NotImplementedError
