"""Harvard: 50 real-world scenes in daylight, 1040x1392x31, 420-720 nm.

    python -m dualsr_jax.prepare --dataset harvard --source FOLDER

Each scene is divided by its maximum, as published. The mask `lbl` of the files is not used.
"""

from dualsr_jax.data.tfds_builder import CubeSet, CubeSetBuilder

# The scenes under daylight; those of the second archive, under artificial light, are not in use.
_NUMBERS = {
    "": "12",
    "a": "12567",
    "b": "0123456789",
    "c": "1245789",
    "d": "234789",
    "e": "01234567",
    "f": "12345678",
    "h": "0123",
}


class Builder(CubeSetBuilder):
    """Harvard's hyperspectral images of real-world scenes."""

    name = "harvard"
    CUBE_SET = CubeSet(
        title="Harvard",
        scenes=tuple(f"img{letter}{n}" for letter, digits in _NUMBERS.items() for n in digits),
        shape=(1040, 1392, 31),
        dtypes=("float",),
        key="ref",
        description="50 scenes in daylight, 1040x1392 pixels, 31 bands from 420 to 720 nm.",
        homepage="http://vision.seas.harvard.edu/hyperspec/",
        citation=(
            "A. Chakrabarti, T. Zickler: Statistics of Real-World Hyperspectral Images. "
            "IEEE Conference on Computer Vision and Pattern Recognition, 2011."
        ),
        layout="img1.mat to imgh3.mat, each with the variable `ref`, as in the archive CZ_hsdb",
    )
