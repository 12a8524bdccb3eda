"""Cut exact quality subsets and nested samples from scores."""
