"""Every row of the hostile table: its name, its URL and how it must end."""

from __future__ import annotations

from dataclasses import dataclass

from clipsieve.schemas.outcomes import Consent, ErrorClass
from tests.integration.hostile.bodies import BODIES
from tests.integration.hostile.consent import CONSENT
from tests.integration.hostile.page import End
from tests.integration.hostile.places import ELSEWHERE, FORBIDDEN_HOSTS, ONLY_AS_ROWS, REDIRECTS
from tests.integration.hostile.server import HostileWeb
from tests.integration.hostile.wire import WIRE

PAGES = {**WIRE, **BODIES, **CONSENT, **REDIRECTS}


@dataclass(frozen=True)
class Case:
    """A row; its name is its caption."""

    name: str
    url: str | None
    ends: tuple[End, ...]
    consent: Consent | None = None


def cases(web: HostileWeb) -> list[Case]:
    pages = [Case(name, web.url(name), page.ends, page.consent) for name, page in PAGES.items()]
    hosts = [
        Case(f"host_{number}", f"http://{host}:{web.ports['forbidden']}/", (ErrorClass.FORBIDDEN_ADDRESS,))
        for number, host in enumerate(FORBIDDEN_HOSTS)
    ]
    rows = [
        Case(f"row_{name}", url and web.fill(url), ends) for name, (url, ends) in {**ELSEWHERE, **ONLY_AS_ROWS}.items()
    ]
    return [*pages, *hosts, *rows]
