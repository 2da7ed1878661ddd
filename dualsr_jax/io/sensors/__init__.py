"""Products of sensors whose format does not say enough: thin readers on `io.formats`."""
