"""An evaluation's results: rows, averages, the outcome of every sample, exports."""
