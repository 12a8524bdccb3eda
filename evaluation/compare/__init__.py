"""Evaluations of several models compared: paired differences, scaling laws and effective robustness."""
