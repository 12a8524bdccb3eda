"""Write a subset as shards of its own."""
