"""Which URLs may be requested, judged by their text: scheme, host, port, credentials. Names are judged by the
resolver, by where they lead.

What is asked of the host is the rest of the text as it is written: an escape may be part of a signature, and a server
may tell ``%28`` from ``(`` or ``a/../b`` from ``b``. Only what may not be sent is escaped.
"""

from __future__ import annotations

import re
import string
from urllib.parse import quote, urljoin

from yarl import URL

from clipsieve.pipelines.fetch.addresses import AllowedHosts, is_public, literal_address
from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.schemas.outcomes import ErrorClass

_TARGET = re.compile(r"[^/?#]*//[^/?#]*([^#]*)")
_LINE_BREAKS = str.maketrans("", "", "\t\r\n")  # no part of a URL, wherever they stand in it, as in a browser


def parse_url(text: str, allowed: AllowedHosts) -> URL:
    """The URL that ``text`` spells. Raises FetchError where it may not be requested.

    Its path is all that is asked of the host, the query included; a fragment is nothing that is asked.
    """
    return _checked(text.strip().translate(_LINE_BREAKS), allowed)


def parse_redirect(base: URL, location: str, allowed: AllowedHosts) -> URL:
    """The URL that a Location header of ``base`` points to, judged as any other."""
    text = location.strip().translate(_LINE_BREAKS)
    try:
        return _checked(text if URL(text).scheme else urljoin(str(base), text), allowed)
    except ValueError as error:
        raise _invalid(error) from error


def _checked(text: str, allowed: AllowedHosts) -> URL:
    try:
        url, target = URL(text), _target(text)
    except ValueError as error:
        raise _invalid(error) from error
    if url.scheme and url.scheme not in ("http", "https"):
        raise FetchError(ErrorClass.SCHEME_NOT_ALLOWED, f"scheme {encodable(url.scheme[:40])!r}")
    host = url.raw_host  # as it is looked up: "²" is "2" there
    if not (url.scheme and host and url.port):
        raise FetchError(ErrorClass.INVALID_URL, "not an absolute http or https URL")
    if url.user is not None or url.password is not None:
        raise FetchError(ErrorClass.INVALID_URL, "credentials in the URL")
    address = literal_address(host)
    if address is not None:
        if not is_public(address) and (str(address), url.port) not in allowed:
            raise FetchError(ErrorClass.FORBIDDEN_ADDRESS, f"{host} is not a public address")
        url = url.with_host(str(address))
    return url.origin().with_path(target, encoded=True)


def _target(text: str) -> str:
    """What is asked of the host of the URL ``text``, in characters that may be sent; of no URL nothing.

    Raises ValueError for text that is not Unicode; surrogates that stand for a header's bytes are those bytes.
    """
    match = _TARGET.match(text)
    target = match[1] if match else ""
    return quote(target if target.startswith("/") else f"/{target}", string.punctuation, errors="surrogateescape")


def as_one_path(url: URL) -> URL:
    """The URL in the form that many spellings of it share: no dots in its path, no escapes that it can do without."""
    return URL(str(url))


def _invalid(error: ValueError) -> FetchError:
    return FetchError(ErrorClass.INVALID_URL, f"not a URL: {encodable(str(error))}")


def encodable(text: str) -> str:
    """A stranger's text as Unicode: undecodable bytes come as lone surrogates, which tables refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")
