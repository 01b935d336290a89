"""Fidelities that differ by more than noise: structures between them, the choice among structures, the fitted model."""
