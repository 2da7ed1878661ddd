"""Values that flags may take, and their defaults; light, so that help and completion are quick."""

PRECISIONS = ("float32", "bfloat16")  # of convolutions and products
NEIGHBOURS = ("paper", "released")  # which bands a band sees
STORAGES = ("float32", "bfloat16")  # of weights in a file
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # on which an exported file may run
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")
CLIPS = ("input", "unit")  # what results are clipped to
MEMORY_GB = 2.5  # memory budget per device
MAX_MB = 10.0  # largest page of a report, in 1e6 bytes
SHIPPED = {2: "cave_x2_medium", 4: "cave_x4_medium", 8: "cave_x8_medium"}  # by scale
