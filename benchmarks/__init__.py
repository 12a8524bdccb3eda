"""How fast clipsieve is beside its peers: ``python -m benchmarks``, each benchmark a file of its own."""
