"""CAVE: 32 indoor scenes of everyday objects, 512x512x31, 400-700 nm.

python -m dualsr_jax.prepare --dataset cave --source FOLDER
"""

from dualsr_jax.data.tfds_builder import CubeSet, CubeSetBuilder


class Builder(CubeSetBuilder):
    """CAVE, of Columbia University."""

    name = "cave"
    CUBE_SET = CubeSet(
        title="CAVE",
        scenes=(
            "balloons",
            "beads",
            "cd",
            "chart_and_stuffed_toy",
            "clay",
            "cloth",
            "egyptian_statue",
            "face",
            "fake_and_real_beers",
            "fake_and_real_food",
            "fake_and_real_lemon_slices",
            "fake_and_real_lemons",
            "fake_and_real_peppers",
            "fake_and_real_strawberries",
            "fake_and_real_sushi",
            "fake_and_real_tomatoes",
            "feathers",
            "flowers",
            "glass_tiles",
            "hairs",
            "jelly_beans",
            "oil_painting",
            "paints",
            "photo_and_face",
            "pompoms",
            "real_and_fake_apples",
            "real_and_fake_peppers",
            "sponges",
            "stuffed_toys",
            "superballs",
            "thread_spools",
            "watercolors",
        ),
        shape=(512, 512, 31),
        dtypes=("uint16",),
        dtype_exceptions={"watercolors": ("uint8", "uint16")},  # 8-bit RGBA as distributed
        description="32 scenes of everyday objects, 512x512 pixels, 31 bands from 400 to 700 nm.",
        homepage="https://www.cs.columbia.edu/CAVE/databases/multispectral/",
        citation=(
            "F. Yasuma, T. Mitsunaga, D. Iso, S. K. Nayar: Generalized Assorted Pixel Camera: "
            "Postcapture Control of Resolution, Dynamic Range, and Spectrum. "
            "IEEE Transactions on Image Processing 19(9), 2010."
        ),
        layout="<scene>_ms/<scene>_ms/<scene>_ms_01.png to _31.png, as distributed",
        url="https://www.cs.columbia.edu/CAVE/databases/multispectral/zip/complete_ms_data.zip",
        # Known for the test scenes of the split `dualsr`.
        checksums={
            "balloons": ("5c633d2ec118e8384f26a95bc43b83e69a09c9c096b327f849511c279f89c894"),
            "cloth": ("ec9882a3565b677e22826ff05c8a6473c8e0b844041b77b512df72203000c9b6"),
            "face": ("8e9fdecec2bdfa7ec885d719e16145a7b83bb7bb7798db4b8030c9741c380c3f"),
            "fake_and_real_lemons": (
                "bbf3d7445ac08ee1b072bd6d8d90ce241a2e96f2f8c619476cb45dd276333a32"
            ),
            "flowers": ("4f4cc58d0d58a01668a5e03ccdb502326d93c2c67b371a74a20930dd93914897"),
            "hairs": ("40c7c24d89eecd30747ba2fb6f5560881e1bd3985c13398d27b5dbe7506380d8"),
            "oil_painting": ("ca45e6b9a84358e52bc3376daf60b2763c0da0bc0aab99374b8048098b8dceb3"),
        },
    )
