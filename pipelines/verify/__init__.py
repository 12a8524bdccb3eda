"""Prove to a stranger that a run's folders hold what they say (law 1); the first discrepancy is named."""
