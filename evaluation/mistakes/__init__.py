"""Looking at what a model gets wrong: classes, confident mistakes and retrievals, with their pictures."""
