"""How a pair's download can end: img2dataset's three statuses, and the finer class that says why."""

from __future__ import annotations

from enum import Enum


class Status(str, Enum):
    """The `status` column, in img2dataset's words."""

    SUCCESS = "success"
    FAILED_TO_DOWNLOAD = "failed_to_download"
    FAILED_TO_RESIZE = "failed_to_resize"


class ErrorClass(str, Enum):
    """The `error_class` column. The comment says what the row's server or bytes did."""

    INVALID_URL = "invalid_url"  # null, no host, credentials in it, or not a URL at all
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"  # anything but http and https
    FORBIDDEN_ADDRESS = "forbidden_address"  # a host, or a redirect's, that is not a global address
    DNS_ERROR = "dns_error"
    TIMEOUT = "timeout"  # connecting, first byte or whole answer took longer than its deadline
    CONNECTION_ERROR = "connection_error"  # refused, reset, or cut off before the announced length
    TLS_ERROR = "tls_error"
    HTTP_ERROR = "http_error"  # a status of 400 or above; the number is in http_status
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_LARGE = "too_large"  # more bytes than allowed, announced or sent
    EMPTY_BODY = "empty_body"
    OPTED_OUT = "opted_out"  # X-Robots-Tag forbids use in training
    NOT_AN_IMAGE = "not_an_image"  # the first bytes are of no allowed image format
    TOO_MANY_PIXELS = "too_many_pixels"  # by the header, before anything is decoded
    DECODE_ERROR = "decode_error"  # truncated or damaged image

    @property
    def status(self) -> Status:
        return Status.FAILED_TO_RESIZE if self in _RESIZE_CLASSES else Status.FAILED_TO_DOWNLOAD

    @property
    def retryable(self) -> bool:
        """Whether asking again later can end differently (for HTTP_ERROR the status decides)."""
        return self in _RETRYABLE_CLASSES


_RESIZE_CLASSES = frozenset({ErrorClass.NOT_AN_IMAGE, ErrorClass.TOO_MANY_PIXELS, ErrorClass.DECODE_ERROR})
_RETRYABLE_CLASSES = frozenset({ErrorClass.DNS_ERROR, ErrorClass.TIMEOUT, ErrorClass.CONNECTION_ERROR})
