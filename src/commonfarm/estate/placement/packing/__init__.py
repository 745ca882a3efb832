"""Which hosts to get: the cheapest bins of given kinds that take all items (vector bin packing)."""
