"""Beam jobs over shards: download, score, select, reshard; and verify, which checks what they wrote."""

import logging

# Beam warns on every import, in every worker, that a client of BigQuery is missing; no job here uses it.
logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("apitools not found"))
