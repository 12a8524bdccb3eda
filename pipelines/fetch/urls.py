"""Which URLs may be requested, judged by their text: scheme, host, port, credentials. Names are judged by the
resolver, by where they lead."""

from __future__ import annotations

from yarl import URL

from clipsieve.pipelines.fetch.addresses import AllowedHosts, is_public, literal_address
from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.schemas.outcomes import ErrorClass


def parse_url(text: str, allowed: AllowedHosts) -> URL:
    """The URL that ``text`` spells. Raises FetchError where it may not be requested."""
    return _checked(_parsed(text.strip()), allowed)


def parse_redirect(base: URL, location: str, allowed: AllowedHosts) -> URL:
    """The URL that a Location header of ``base`` points to, judged as any other."""
    target = _parsed(location)
    return _checked(target if target.scheme else base.join(target), allowed)


def _parsed(text: str) -> URL:
    try:
        return URL(text)
    except ValueError as error:
        raise FetchError(ErrorClass.INVALID_URL, f"not a URL: {encodable(str(error))}") from error


def _checked(url: URL, allowed: AllowedHosts) -> URL:
    if url.scheme and url.scheme not in ("http", "https"):
        raise FetchError(ErrorClass.SCHEME_NOT_ALLOWED, f"scheme {encodable(url.scheme[:40])!r}")
    host = url.raw_host  # as it is looked up: "²" is "2" there
    if not (url.scheme and host and url.port):
        raise FetchError(ErrorClass.INVALID_URL, "not an absolute http or https URL")
    if url.user is not None or url.password is not None:
        raise FetchError(ErrorClass.INVALID_URL, "credentials in the URL")
    address = literal_address(host)
    if address is None:
        return url
    if not is_public(address) and (str(address), url.port) not in allowed:
        raise FetchError(ErrorClass.FORBIDDEN_ADDRESS, f"{host} is not a public address")
    return url.with_host(str(address))


def encodable(text: str) -> str:
    """A stranger's text as Unicode: undecodable bytes come as lone surrogates, which tables refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")
