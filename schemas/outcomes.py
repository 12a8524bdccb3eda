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
    HOST_NOT_FOUND = "host_not_found"  # the name does not exist (NXDOMAIN), or cannot
    DNS_ERROR = "dns_error"  # the name servers fail, or are silent
    TIMEOUT = "timeout"  # connecting, first byte or whole answer took longer than its deadline
    CONNECTION_ERROR = "connection_error"  # refused, reset, or cut off before the announced length
    PROTOCOL_ERROR = "protocol_error"  # an answer that is not HTTP, or with more or longer headers than allowed
    TLS_ERROR = "tls_error"
    HTTP_ERROR = "http_error"  # a status of 400 or above; the number is in http_status
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_LARGE = "too_large"  # more bytes than allowed, announced or sent
    EMPTY_BODY = "empty_body"
    OPTED_OUT = "opted_out"  # the owner does not want it used; the column `consent` says where that is said
    HASH_MISMATCH = "hash_mismatch"  # the bytes are not those whose sha256 the input table names
    FORBIDDEN_PATH = "forbidden_path"  # outside the folder whose files may be read, or a link that leads there
    FILE_NOT_FOUND = "file_not_found"
    NOT_A_FILE = "not_a_file"  # a folder, device, pipe, or link to itself
    FILE_ERROR = "file_error"  # the file system did not let it be read
    NO_CAPTION = "no_caption"  # a local picture without a text
    NOT_AN_IMAGE = "not_an_image"  # the first bytes are of no allowed image format
    TOO_MANY_PIXELS = "too_many_pixels"  # by the header, before anything is decoded
    TOO_SMALL = "too_small"  # a side under min_image_size
    ASPECT_RATIO = "aspect_ratio"  # longer side by shorter over max_aspect_ratio
    DECODE_ERROR = "decode_error"  # truncated or damaged image

    @property
    def status(self) -> Status:
        return Status.FAILED_TO_RESIZE if self in _RESIZE_CLASSES else Status.FAILED_TO_DOWNLOAD


class Consent(str, Enum):
    """The `consent` column: what decided whether the image may be used; null where nothing was asked or answered."""

    ALLOWED = "allowed"
    OPT_OUT_LIST = "opt_out_list"  # the user's list names its uid, URL or domain
    ROBOTS_TXT = "robots_txt"  # the host's robots.txt disallows the path
    X_ROBOTS_TAG = "x_robots_tag"  # the answer's header says noai, noindex or the like
    TDM_RESERVATION = "tdm_reservation"  # the answer's header reserves the right of text and data mining


_RESIZE_CLASSES = frozenset(
    {
        ErrorClass.NOT_AN_IMAGE,
        ErrorClass.TOO_MANY_PIXELS,
        ErrorClass.TOO_SMALL,
        ErrorClass.ASPECT_RATIO,
        ErrorClass.DECODE_ERROR,
    }
)
_PASSING_CLASSES = frozenset({ErrorClass.DNS_ERROR, ErrorClass.TIMEOUT, ErrorClass.CONNECTION_ERROR})
_PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505}  # which say that it never can


def is_retryable(error_class: ErrorClass | None, http_status: int | None) -> bool:
    """Whether asking again, in a moment or in a later pass, can end differently.

    So it is with what the network or a busy server did; of HTTP's statuses (RFC 9110, 8470 and 6585) with
    408, 425, 429 and 5xx, but for 501 and 505.
    """
    if error_class is ErrorClass.HTTP_ERROR:
        return http_status in _PASSING_STATUSES
    return error_class in _PASSING_CLASSES
