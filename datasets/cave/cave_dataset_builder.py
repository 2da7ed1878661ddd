"""CAVE as a TFDS data set, built from its distributed folder, without TensorFlow.

    python datasets/cave/cave_dataset_builder.py FOLDER data/tfds

FOLDER holds `<scene>_ms/<scene>_ms/<scene>_ms_NN.png`. The result is read with
`config.data.source="tfds"` and `config.data.path="data/tfds/cave/1.0.0"`.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from dualsr_jax.io.cubes import list_cubes, read_cube

TEST_SCENES = (
    "balloons",
    "cloth",
    "face",
    "fake_and_real_lemons",
    "flowers",
    "hairs",
    "oil_painting",
)


class Builder(tfds.core.GeneratorBasedBuilder):
    """32 scenes, 512x512, 31 bands from 400 to 700 nm, 16 bit."""

    name = "cave"  # inferred from the module's name, unless run as a command
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download and unpack the CAVE multispectral image database of Columbia University, so that "
        "the folder holds <scene>_ms/<scene>_ms/<scene>_ms_NN.png."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        """Names and types of the features."""
        cube = tfds.features.Tensor(
            shape=(None, None, 31), dtype=np.uint16, encoding=tfds.features.Encoding.ZLIB
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "cube": cube}),
            description="CAVE: 32 hyperspectral scenes of everyday objects.",
            homepage="https://www.cs.columbia.edu/CAVE/databases/multispectral/",
            citation=(
                "F. Yasuma, T. Mitsunaga, D. Iso, S. K. Nayar: Generalized Assorted Pixel Camera: "
                "Postcapture Control of Resolution, Dynamic Range, and Spectrum. "
                "IEEE Transactions on Image Processing 19(9), 2010."
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        """The split `dualsr`: seven test scenes, all others for training."""
        scenes = list_cubes(dl_manager.manual_dir)
        test = {name: path for name, path in scenes.items() if name in TEST_SCENES}
        train = {name: path for name, path in scenes.items() if name not in TEST_SCENES}
        return {"train": self._generate_examples(train), "test": self._generate_examples(test)}

    def _generate_examples(self, scenes: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields one example a scene."""
        for name, path in scenes.items():
            cube = read_cube(path)
            if cube.dtype == np.uint8:  # watercolors is 8-bit: 255 -> 65535
                cube = cube.astype(np.uint16) * 257
            yield name, {"name": name, "cube": cube}


def main() -> None:
    """Prepares the data set; a prepared one is left as it is."""
    parser = argparse.ArgumentParser(description="Prepares CAVE as a TFDS data set.")
    parser.add_argument("folder", help="CAVE as distributed")
    parser.add_argument("data_dir", help="where prepared data sets lie")
    arguments = parser.parse_args()
    builder = Builder(data_dir=arguments.data_dir, file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=arguments.folder)
    builder.download_and_prepare(download_config=config)
    print(f"set config.data.source=tfds and config.data.path={builder.data_dir}")


if __name__ == "__main__":
    main()
