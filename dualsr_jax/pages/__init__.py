"""The interactive pages of an evaluation."""
