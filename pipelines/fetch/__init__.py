"""Fetching a URL that a stranger wrote, from a server that a stranger runs (law 7).

urls.py and addresses.py decide what may be requested and where a connection may go, resolver.py makes sure that
it goes nowhere else, robots_txt.py and robots.py read the owner's wish, client.py asks, handler.py bounds what is
answered, lenient.py and untidy.py read what breaks HTTP's grammar, codings.py unpacks, hosts.py gives turns at a host,
breaker.py and network.py tell a server's failure from the network's, fetcher.py is the whole.
"""
