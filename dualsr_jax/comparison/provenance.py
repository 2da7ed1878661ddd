"""What is known of how a network was trained.

Contract: a folder of training holds its config as `config.json`; a file of weights holds what
`convert` took from such a folder, as the text `training`; of a path only the name, because weights
are given away. Weights of other origin hold at most prose. What is not known is None, never a
guess; nothing that is read is used as a path.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.weights.published import KERAS_SUFFIXES, TORCH_SUFFIXES
from dualsr_jax.weights.safetensors_file import find_weights, read_weights

KEY = "training"  # of the text in a file of weights
_CONFIG = "config.json"  # in a folder of training
_OF_SPLIT = ("name", "split", "split_seed", "test_share")  # fields of `config.data`
_LONGEST = 300  # characters of prose that are repeated
_PROSE = ("data", "recipe")  # texts in a file of weights, for people


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network was trained."""

    weights: str  # as the user named them
    data_set: str | None = None
    split: str | None = None
    protocol: str | None = None
    degradation: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # decides the scenes
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # `config.train`
    prose: str = ""  # what the file says in words
    of_file: bool = False  # known from a file of weights, which has only the names of paths

    def unknown(self) -> list[str]:
        """Names of what is not known."""
        named = {"data set": self.data_set, "split": self.split, "protocol": self.protocol}
        return [name for name, value in named.items() if value is None]

    def differences(self, config: ConfigDict) -> list[str]:
        """What is known to differ from a config, and makes scores incomparable; one line each."""
        wanted = {
            "data set": (self.data_set, config.data.name),
            "split": (self.split, _split_of(config.data.to_dict(), of_file=self.of_file)),
            "protocol": (self.protocol, config.protocol),
        }
        return [
            f"{self.weights!r} was trained with {name} {has!r}, the config has {wants!r}"
            for name, (has, wants) in wanted.items()
            if has is not None and has != wants
        ]

    def trained_on_same_degradation(self, config: ConfigDict) -> bool | None:
        """Whether the LR images of training were made as those of a config; None if not known."""
        if self.degradation is None:
            return None
        try:
            return _degradation(self.degradation) == Degradation(**config.degradation)
        except (TypeError, ValueError):  # settings of another version
            return None


def _split_of(data: Mapping[str, Any], *, of_file: bool = False) -> str | None:
    """What decides the test scenes; the same text means the same scenes of a data set.

    A split of one's own is its path, and in a file of weights the name of its file.
    """
    split = data.get("split")
    if not isinstance(split, str):
        return None
    if split.endswith(".txt"):
        return Path(split).name if of_file else os.path.abspath(os.path.expanduser(split))
    drawn_by = {"random": ("split_seed", "test_share"), "fold": ("split_seed",)}
    names = drawn_by.get(split.partition(" ")[0], ())
    return ", ".join([split, *(f"{name}={data[name]}" for name in names if name in data)])


def _degradation(settings: Mapping[str, Any]) -> Degradation:
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
    }
    return Degradation(**values)


def _parse(weights: str, config: Any, prose: str = "", *, of_file: bool = False) -> Training:
    """Reads a config, or the part of it that `training_text` keeps in a file of weights."""
    parts = {"": config}
    for name in ("data", "degradation", "train"):
        parts[name] = config.get(name) if isinstance(config, dict) else None

    def text(part: str, name: str) -> str | None:
        value = parts[part].get(name) if isinstance(parts[part], dict) else None
        return value if isinstance(value, str) else None

    def mapping(part: str) -> dict[str, Any] | None:
        return parts[part] if isinstance(parts[part], dict) else None

    return Training(
        weights,
        data_set=text("data", "name"),
        split=_split_of(mapping("data") or {}, of_file=of_file),
        protocol=text("", "protocol"),
        degradation=mapping("degradation"),
        data={k: v for k, v in (mapping("data") or {}).items() if k in _OF_SPLIT},
        settings=mapping("train") or {},
        prose=prose,
        of_file=of_file,
    )


def training_of(weights: str | os.PathLike[str]) -> Training:
    """Says what is known of how weights were trained.

    Args:
        weights: folder of training, `*.safetensors` file, or shipped name.

    Raises:
        FileNotFoundError: if there is no such file or name.
        ValueError: if the file, or the config in the folder, is damaged.
    """
    name, path = os.fspath(weights), find_weights(weights)
    if path is None:
        file = Path(weights).expanduser() / _CONFIG
        if not file.is_file():
            return Training(name)
        return _parse(name, _read_json(file.read_text(errors="replace"), str(file)))
    about = read_weights(path)[1]
    prose = "; ".join(" ".join(about[key].split()) for key in _PROSE if key in about)
    prose = "".join(character for character in prose if character.isprintable())[:_LONGEST]
    if KEY not in about:
        return Training(name, prose=prose)
    return _parse(name, _read_json(about[KEY], f"{path}, {KEY}"), prose, of_file=True)


def _read_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place} is damaged: it is not JSON ({error})") from error


def training_text(weights: str | os.PathLike[str]) -> dict[str, str]:
    """The text to store in a file of weights, by its name; empty if nothing is known."""
    if Path(weights).suffix in TORCH_SUFFIXES + KERAS_SUFFIXES:  # which say nothing
        return {}
    known = training_of(weights)
    if len(known.unknown()) == 3:
        return {}
    config = {
        "protocol": known.protocol,
        "data": _without_folders(known.data, "split"),
        "degradation": known.degradation,
        "train": _without_folders(known.settings, "warm_start"),
    }
    return {KEY: json.dumps(config)}


def _without_folders(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Settings, with only the last part of the path that one of them may be."""
    value = settings.get(name)
    return {**settings, name: Path(value).name} if isinstance(value, str) else dict(settings)
