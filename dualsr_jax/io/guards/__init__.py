"""Checks of damaged files that libraries lack; each module names the fix that would end it."""
