"""Where a pair came from, how it was judged, what holds it and where its bytes lie."""
