"""One thread for the tests: their matrices are small, and two threads on busy cores take many times as long."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of examples and README code, which run as processes of their own

import torch

torch.set_num_threads(1)
