"""Molecular properties with provenance: measured, computed at several levels, and how to split them."""
