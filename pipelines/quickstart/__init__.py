"""What the quickstart starts from: embedded pairs, a web server that serves them as the web does, and a recipe."""
