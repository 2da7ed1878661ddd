"""The interactive report of an evaluation, and the files that it is made from."""
