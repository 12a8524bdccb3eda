"""The classes of ImageNet-1k and of the sets that test it elsewhere, and ReaL's labels."""
