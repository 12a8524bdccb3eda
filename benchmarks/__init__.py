"""How fast clipsieve is next to its peers: ``python -m benchmarks``, each benchmark a file of its own."""
