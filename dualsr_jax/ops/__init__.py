"""Array operators without parameters: resizing, convolution, spectral angle."""
