"""Structures of fidelities: how what cheap levels say enters what dear ones do."""
