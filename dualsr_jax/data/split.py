"""Splits: which scenes, or rectangles of scenes, train, validate and test.

Contract: a split is data. The published ones are `splits/<data set>_<name>.txt`; a user's own is a
file of the same form:

    # anything after a number sign is a remark
    [train]
    *
    [test]
    balloons
    indian_pines[97:, :]

A line is a scene's name, with `*` and `?` as wildcards, or a rectangle of it with Python's slices
of rows and columns. Wildcards in `[train]` leave out what shares pixels with another part. A
`[train]` that is missing or has no lines means all scenes that are named nowhere else. Parts share
no pixel.
"""

import configparser
import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

PARTS = ("train", "validation", "test")
_PUBLISHED = Path(__file__).with_name("splits")
_FORMS = "'random', 'fold K/N' or the path of a text file"


@dataclasses.dataclass(frozen=True)
class Selection:
    """A scene or a rectangle of it; `text` is how the split names it."""

    name: str
    rows: slice
    columns: slice
    _: dataclasses.KW_ONLY
    text: str

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """Reads `name` or `name[rows, columns]` with Python's slices of non-negative bounds."""
        match = re.fullmatch(r"([^\[\]]+?)(?:\[(\d*):(\d*),\s*(\d*):(\d*)\])?", text.strip())
        if match is None:
            raise ValueError(
                f"{text!r} selects no scene: expected a name, or 'name[rows, columns]' "
                "with slices, such as 'scene[0:100, :64]'"
            )
        top, bottom, left, right = (int(n) if n else None for n in match.groups()[1:])
        return cls(match[1], slice(top, bottom), slice(left, right), text=text)

    @classmethod
    def whole(cls, name: str) -> "Selection":
        """Selects a whole scene; in its name, `*`, `?` and `[` stand for themselves."""
        return cls(name, slice(None), slice(None), text=name)

    @property
    def is_wildcard(self) -> bool:
        """Whether its text may select several scenes."""
        return "*" in self.text or "?" in self.text

    def overlaps(self, other: "Selection") -> bool:
        """Whether this selection and the other one share a pixel."""

        def meet(a: slice, b: slice) -> bool:
            far = float("inf")
            ends = (far if s.stop is None else s.stop for s in (a, b))
            return max(a.start or 0, b.start or 0) < min(ends)

        rows, columns = meet(self.rows, other.rows), meet(self.columns, other.columns)
        return self.name == other.name and rows and columns


def published_splits(data_set: str) -> dict[str, Path]:
    """The published splits of a data set, by name."""
    paths = sorted(_PUBLISHED.glob(f"{data_set}_*.txt"))
    return {path.stem.removeprefix(f"{data_set}_"): path for path in paths}


def read_split(path: Path) -> dict[str, list[str]]:
    """The lines of a split file, by part.

    Raises FileNotFoundError if the file does not exist, and ValueError if it does not have the form
    that this module describes.
    """
    # Names are kept as they are: no values, no interpolation, no defaults.
    parser = configparser.ConfigParser(
        allow_no_value=True,
        delimiters=("\0",),
        comment_prefixes=("#",),
        inline_comment_prefixes=("#",),
        interpolation=None,
        default_section="",
    )
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
        parser.read_string("\n".join(lines), source=str(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no split file {str(path)!r}") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = str(error).replace("\n", " ")
        raise ValueError(f"{path} is not a split file: {reason}") from error
    unknown = sorted(set(parser.sections()) - set(PARTS))
    if unknown:
        raise ValueError(
            f"{path} has the section [{unknown[0]}]: expected [train], [validation] or [test]"
        )
    if not parser.has_section("test"):
        raise ValueError(f"{path} has no section [test]: name there the scenes to test on")
    return {part: list(parser[part]) if parser.has_section(part) else [] for part in PARTS}


def divide(
    names: Sequence[str],
    how: str,
    *,
    data_set: str = "",
    validation: Iterable[str] = (),
    test_share: float = 0.2,
    seed: int = 0,
) -> dict[str, list[Selection]]:
    """Divides scenes into the parts "train", "validation" and "test", which share no pixel.

    `how` is the name of a published split of `data_set`; "random", which tests on a share of the
    scenes, in (0, 1); "fold K/N", which tests on the K-th of N folds; or the path of a split file.
    The seed decides the order of "random" and "fold". The selections in `validation` are added to
    those of a split file, and held out of training even if the file names them there. Raises
    ValueError if `how` is unknown, a selection names no scene, two parts share pixels, or no scene
    is left for training or testing, and FileNotFoundError if the split file does not exist.
    """
    selected = _selected(names, how, data_set, test_share, seed)
    added = _select(names, validation)
    parts = {"validation": selected["validation"] + added, "test": selected["test"]}
    held_out = parts["validation"] + parts["test"]
    rest = sorted(set(names) - {selection.name for selection in held_out})
    parts["train"] = [
        selection
        for selection in selected["train"] or map(Selection.whole, rest)
        # A wildcard gives way to all other parts, a name to data.validation only.
        if not any(map(selection.overlaps, held_out if selection.is_wildcard else added))
    ]
    for part in ("train", "test"):
        if not parts[part]:
            raise ValueError(
                f"no scene is left for {part}: the split {how!r} of {len(names)} scenes holds "
                f"{len(parts['test'])} for testing and {len(parts['validation'])} for validation"
            )
    _check_disjoint(parts)
    return parts


def _selected(
    names: Sequence[str], how: str, data_set: str, test_share: float, seed: int
) -> dict[str, list[Selection]]:
    """What the split itself selects for each part."""

    def tested(drawn: Iterable[str]) -> dict[str, list[Selection]]:
        return {"train": [], "validation": [], "test": [Selection.whole(name) for name in drawn]}

    def listed(path: Path) -> dict[str, list[Selection]]:
        return {part: _select(names, lines) for part, lines in read_split(path).items()}

    published = published_splits(data_set)
    if how in published:
        return listed(published[how])
    shuffled = [str(name) for name in np.random.default_rng(seed).permutation(sorted(names))]
    if how == "random":
        if not 0 < test_share < 1:
            raise ValueError(f"data.test_share must be between 0 and 1, got {test_share}")
        return tested(shuffled[: max(1, round(test_share * len(names)))])
    if match := re.fullmatch(r"fold (\d+)/(\d+)", how):
        fold, folds = int(match[1]), int(match[2])
        if not 1 <= fold <= folds or not 2 <= folds <= len(names):
            raise ValueError(
                f"data.split={how!r} does not divide {len(names)} scenes: expected 'fold K/N' "
                f"with K from 1 to N and N from 2 to {len(names)}"
            )
        return tested(str(name) for name in np.array_split(shuffled, folds)[fold - 1])
    if how.endswith(".txt") or "/" in how:
        return listed(Path(how).expanduser())
    known = "".join(f"{name!r}, " for name in published)
    raise ValueError(f"unknown data.split {how!r}: expected {known}{_FORMS}")


def _select(names: Sequence[str], texts: Iterable[str]) -> list[Selection]:
    """The scenes that the texts select; all texts that select nothing are named in one error."""
    chosen: list[Selection] = []
    unknown: list[str] = []
    for selection in map(Selection.parse, texts):
        matches = fnmatch.filter(names, selection.name)
        if not matches:
            close = difflib.get_close_matches(selection.name, names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            unknown.append(f"{selection.name!r}{hint}")
        chosen += [dataclasses.replace(selection, name=match) for match in matches]
    if unknown:
        raise ValueError(
            f"there is no scene {', '.join(unknown)}: the source has {', '.join(names)}"
        )
    return chosen


def _check_disjoint(parts: Mapping[str, list[Selection]]) -> None:
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = [(a, b) for a in parts[first] for b in parts[second] if a.overlaps(b)]
        if shared:
            pairs = (a.text if a.text == b.text else f"{a.text} / {b.text}" for a, b in shared)
            raise ValueError(
                f"{first} and {second} share pixels of these scenes: {', '.join(pairs)}"
            )
