"""Indian Pines: one AVIRIS scene, 145x145x200, 400-2500 nm, packaged by tensorly.

python -m dualsr_jax.prepare --dataset indian_pines
"""

from pathlib import Path

import tensorly.datasets

from dualsr_jax.data.tfds_builder import CubeSet, CubeSetBuilder


class Builder(CubeSetBuilder):
    """Indian Pines without its water absorption bands."""

    name = "indian_pines"
    CUBE_SET = CubeSet(
        title="Indian Pines",
        scenes=("indian_pines",),
        files={"indian_pines": "Indian_pines_corrected"},
        shape=(145, 145, 200),
        dtypes=("uint16",),
        description="an AVIRIS scene of 145x145 pixels and 200 bands from 400 to 2500 nm.",
        homepage="https://purr.purdue.edu/publications/1947/1",
        citation=(
            "M. F. Baumgardner, L. L. Biehl, D. A. Landgrebe: 220 Band AVIRIS Hyperspectral Image "
            "Data Set: June 12, 1992 Indian Pine Test Site 3. Purdue University Research "
            "Repository, 2015. CC BY 3.0."
        ),
        layout="Indian_pines_corrected.npy or .mat",
        packaged=Path(tensorly.datasets.__file__).parent / "data",
        checksums={
            "indian_pines": "36468dd7336c8bd37a80cced54362ea426f226703f3797ba494556fd8134e77f"
        },
    )
