"""Virtual batteries: gray-box networks of air-conditioned rooms."""
