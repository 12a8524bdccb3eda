"""A stranger's bytes made into a small clean image, as img2dataset's resizer does it where that is right.

    body -> header -> plan of sizes -> decode -> turn -> resize, blur, crop or pad -> encode

Beyond img2dataset: the format is told by its first bytes, sizes are judged before anything is decoded, a truncated
JPEG is an error, EXIF orientation is applied, and 16-bit, CMYK and palette images are converted.
"""
