"""A name server on loopback that answers as a test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SILENCE = "silence"
TTL = 60


class NameServer(asyncio.DatagramProtocol):
    """``zone`` says what each name is: a list of addresses (``cname:NAME`` among them leads on), an rcode as
    SERVFAIL, or SILENCE; a name that it lacks does not exist."""

    def __init__(self, zone):
        self.zone = {".": "NOERROR", **zone}
        self.asked: Counter[str] = Counter()
        """How often each name was requested, A and AAAA together."""
        self._port = 0

    async def open(self):
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self._port))
        self._port = self._transport.get_extra_info("sockname")[1]

    def close(self):
        """From now on its port is closed, until it is opened again."""
        self._transport.close()

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    def datagram_received(self, data, sender):
        question = dns.message.from_wire(data)
        name = question.question[0].name.to_text().lower().rstrip(".") or "."
        self.asked[name] += 1
        said = self.zone.get(name, "NXDOMAIN")
        if said != SILENCE:
            self._transport.sendto(self._reply(question, said).to_wire(), sender)

    def _reply(self, question, said):
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.RA
        if isinstance(said, str):
            reply.set_rcode(dns.rcode.from_text(said))
            return reply
        owner = question.question[0].name
        for value in said:
            if value.startswith("cname:"):
                reply.answer.append(dns.rrset.from_text(owner, TTL, "IN", "CNAME", value[6:] + "."))
                owner = value[6:] + "."
            elif question.question[0].rdtype.name == ("AAAA" if ":" in value else "A"):
                kind = question.question[0].rdtype.name
                reply.answer.append(dns.rrset.from_text(owner, TTL, "IN", kind, value))
        return reply


@asynccontextmanager
async def name_server(zone):
    server = NameServer(zone)
    await server.open()
    try:
        yield server
    finally:
        server.close()
