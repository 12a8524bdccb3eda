"""What the steps of `process_image` raise when an image is refused for a reason that has a class of its own."""

from __future__ import annotations

from clipsieve.schemas.outcomes import ErrorClass


class ImageError(Exception):
    """An image that is refused; ``error_class`` says as what."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
