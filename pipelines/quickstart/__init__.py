"""What the quickstart starts from: embedded pairs, a web server that serves them as the web does, and a recipe."""

from pipelines.quickstart.inputs import prepare, serve_pairs

__all__ = ["prepare", "serve_pairs"]
