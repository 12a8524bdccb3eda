"""The data's stages, most of them Beam jobs over shards: download, score, filters, dedup, select, reshard.

And what looks at a run or changes it as a whole: verify, explain, takedown; and the quickstart with its model.
"""

import logging

# Beam warns on every import, in every worker, that a client of BigQuery is missing; no job here uses it.
logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("apitools not found"))
