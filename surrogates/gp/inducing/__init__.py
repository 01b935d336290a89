"""Many tasks whose common process is known by its values at a few places, while each task's own covariance stays exact."""
