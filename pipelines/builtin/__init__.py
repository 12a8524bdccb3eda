"""The builtin reference: a small CLIP trained with this project's own trainer, and how its data was put together."""
