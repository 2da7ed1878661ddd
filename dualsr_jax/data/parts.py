"""The parts of a config's data: training, validation and test scenes.

Contract: the config chooses data and protocol; cubes are read when the scenes are iterated.
"""

from ml_collections import ConfigDict

from dualsr_jax.data.sources import Scenes, open_source
from dualsr_jax.data.split import divide
from dualsr_jax.protocols import get_protocol


def peak_of(config: ConfigDict) -> float | str | None:
    """The config's peak, or that of its protocol, as `sources.peak_value` takes it."""
    return get_protocol(config.protocol).peak if config.data.peak is None else config.data.peak


def open_parts(config: ConfigDict) -> dict[str, Scenes]:
    """Opens the "train", "validation" and "test" scenes of a config, without reading a cube.

    Scenes for validation and testing are cut to the crop of the config or its protocol. Scenes may
    differ in their number of bands if training takes windows of bands. Raises ValueError if the
    source, split or protocol is unknown or does not fit to the data, and FileNotFoundError if the
    folder or the split file does not exist.
    """
    data, protocol = config.data, get_protocol(config.protocol)
    source = open_source(data.source, data.path, data.key)
    selections = divide(
        source.names,
        data.split,
        data_set=data.name,
        validation=data.validation,
        test_share=data.test_share,
        seed=data.split_seed,
    )
    test_crop = protocol.crop if config.evaluate.crop is None else config.evaluate.crop
    return {
        part: Scenes(
            source,
            chosen,
            peak=peak_of(config),
            crop=None if part == "train" else test_crop,
            same_bands=config.train.window_bands is None,
        )
        for part, chosen in selections.items()
    }
