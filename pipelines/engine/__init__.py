"""How any job runs: runners, worker processes, progress, the digests of what a job wrote."""
