def affinity(parts):
    raise NotImplementedError
