"""Networks: their layers, the methods, and the seam to everything else."""
