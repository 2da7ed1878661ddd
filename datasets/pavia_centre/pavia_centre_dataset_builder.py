"""Pavia Centre: one ROSIS scene, 1096x715x102, 430-860 nm.

python -m dualsr_jax.prepare --dataset pavia_centre --source FOLDER
"""

from dualsr_jax.data.tfds_builder import CubeSet, CubeSetBuilder


class Builder(CubeSetBuilder):
    """Pavia Centre without the part that holds no information."""

    name = "pavia_centre"
    CUBE_SET = CubeSet(
        title="Pavia Centre",
        scenes=("pavia_centre",),
        files={"pavia_centre": "Pavia"},
        shape=(1096, 715, 102),
        dtypes=("uint16", "float"),
        key="pavia",
        description="a ROSIS scene of 1096x715 pixels and 102 bands from 430 to 860 nm.",
        homepage="https://www.ehu.eus/ccwintco/index.php/Hyperspectral_Remote_Sensing_Scenes",
        citation="P. Gamba, University of Pavia: Pavia Centre scene, ROSIS sensor.",
        layout="Pavia.mat with the variable `pavia`",
    )
