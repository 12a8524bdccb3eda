"""What an evaluation's figures are worth: intervals, paired differences, sources of variance, and fitted laws."""
