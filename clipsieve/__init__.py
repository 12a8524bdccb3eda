"""Curate image-text pairs and train better CLIP models on them: the command line and its recipes.

The packages `pipelines`, `training`, `evaluation` and `schemas` lie at the top of the repository and are linked into
this one, so that they have one import name everywhere: ``clipsieve.pipelines`` and so on.
"""
