"""The experiments of the papers, one recipe each, a training run a row."""
