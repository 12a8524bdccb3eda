"""Score how well each image matches its caption under a reference CLIP."""
