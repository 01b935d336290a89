"""Posteriors as functions of torch tensors, for whoever differentiates through them."""
