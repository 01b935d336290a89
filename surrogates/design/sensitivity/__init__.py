"""Sobol indices: how much of a fitted function's variance comes from which input."""
