"""Index the shards of another tool: where each sample lies, so that every command reads them where they are."""
