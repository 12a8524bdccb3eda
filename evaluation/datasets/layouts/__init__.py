"""The three layouts of a data set on disk: tar files as CLIP_benchmark has them, ImageFolder trees, and Parquet."""
