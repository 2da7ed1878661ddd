"""Published results of networks, to stand next to those that were measured."""

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

_FILE = Path(__file__).parents[1] / "data" / "published.toml"
UNKNOWN_SPLIT = "not published"


@functools.cache
def _results() -> list[dict[str, Any]]:
    return tomllib.loads(_FILE.read_text())["result"]


def published(config: ConfigDict) -> tuple[Mapping[str, Mapping[str, float]], str]:
    """The published results for the data set, split, protocol and scale of a config.

    Returns:
        The scores by method and metric, in the order of the publication, and their source in words.
        Both are empty if nothing was published.
    """
    wanted = {
        "data_set": config.data.name,
        "protocol": config.protocol,
        "scale": config.model.scale,
    }
    for result in _results():
        known = config.data.split in result["splits"]
        if wanted.items() <= result.items() and (known or UNKNOWN_SPLIT in result["splits"]):
            remark = "" if known else "; its split was not published"
            return result["methods"], result["source"] + remark
    return {}, ""
