"""Chikusei: one airborne scene, of which the central 2304x2048x128 are kept, 363-1018 nm.

    python -m dualsr_jax.prepare --dataset chikusei --source FOLDER

Needs about 15 GB of memory. The central part is that of SSPSR (IEEE TCI 2020).
"""

from dualsr_jax.data.tfds_builder import CubeSet, CubeSetBuilder


class Builder(CubeSetBuilder):
    """The centre of the Chikusei scene."""

    name = "chikusei"
    CUBE_SET = CubeSet(
        title="Chikusei",
        scenes=("chikusei",),
        files={"chikusei": "HyperspecVNIR_Chikusei_20140729"},
        shape=(2517, 2335, 128),
        dtypes=("uint16", "int16", "int32", "float"),
        key="chikusei",
        description="an airborne scene, 2304x2048 pixels and 128 bands from 363 to 1018 nm.",
        homepage="https://naotoyokoya.com/Download.html",
        citation=(
            "N. Yokoya, A. Iwasaki: Airborne Hyperspectral Data over Chikusei. Technical Report "
            "SAL-2016-05-27, Space Application Laboratory, University of Tokyo, 2016."
        ),
        layout="HyperspecVNIR_Chikusei_20140729.mat with the variable `chikusei`",
        crop=(slice(106, 2410), slice(143, 2191)),
    )
