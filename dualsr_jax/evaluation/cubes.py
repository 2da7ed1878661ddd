"""The cubes of an evaluation, `<image>.npz` next to `results.json`.

Contract: a file holds the float32 cubes as they were scored: `reference`, `lr`, and the result of
each method but bicubic under its name; bicubic is computed again from `lr`. `read_cubes` checks
that the cubes are whole and belong to the scores.
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.results import BICUBIC, RESULTS, Evaluation
from dualsr_jax.io.cubes import read_cube
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol

REFERENCE = "Reference"
_LONGEST = 200  # bytes of a name; systems allow 255, and suffixes come on top
_SAME = 1e-3  # relative; a score of a whole cube may differ by rounding in float32

Cube = Float[np.ndarray, "_ _ L"]  # [H, W, L], of any scale


def file_name(image: str) -> str:
    """An image's name as a file name, without suffix; different images have different ones.

    Names of letters, digits, `_`, `-` and `.` stay. Others, such as `a[:, 64:]`, become `a_-_64-~`
    and 16 hexadecimal digits of a hash, so that no name leads to another folder.
    """
    if re.fullmatch(r"\w[\w.-]*", image) and len(image.encode()) <= _LONGEST:
        return image
    readable = image.translate(str.maketrans("[:,", "_-_", "] "))
    readable = re.sub(r"[^\w.-]", "_", readable).lstrip(".-")[: _LONGEST // 5]
    digest = hashlib.sha256(image.encode(errors="surrogatepass")).hexdigest()
    return f"{readable}~{digest[:16]}"


@dataclasses.dataclass(frozen=True)
class ImageCubes:
    """The cubes of an image, float32, as they were scored."""

    reference: Cube
    lr: Cube
    results: Mapping[str, Cube]  # by method, Bicubic first


def bytes_of_cubes(shapes: Sequence[tuple[int, ...]], scale: int) -> int:
    """Upper bound of the disk space of the cubes, from the shapes of the references."""
    values = sum(3 * math.prod(shape) + math.prod(shape) // scale**2 for shape in shapes)
    return 4 * values + 4096 * len(shapes)


def write_cubes(
    folder: Path, image: str, *, reference: Cube, lr: Cube, results: Mapping[str, Cube]
) -> None:
    """Writes the cubes of an image as they were scored; `results` are by method."""
    made = {method: cube for method, cube in results.items() if method != BICUBIC}
    with replacing(folder / f"{file_name(image)}.npz") as new:
        np.savez(new, allow_pickle=False, reference=reference, lr=lr, **made)


def read_cubes(evaluation: Evaluation, image: str) -> ImageCubes:
    """Reads the cubes of an image.

    Raises:
        FileNotFoundError: if the evaluation left no cubes.
        ValueError: if they are damaged, or do not give the scores of the evaluation.
    """
    path = evaluation.folder / f"{file_name(image)}.npz"
    again = "run dualsr evaluate again, with --save_cubes"
    if not path.is_file():
        raise FileNotFoundError(f"there are no cubes of {image!r} ({str(path)!r}): {again}")
    made = [method for method in evaluation.methods if method != BICUBIC]
    stored = {key: read_cube(path, key, axes="y,x,band") for key in ("reference", "lr", *made)}
    height, width, bands = stored["reference"].shape
    for key, cube in stored.items():
        times = evaluation.scale if key == "lr" else 1
        expected = (height // times, width // times, bands)
        if cube.shape != expected or cube.dtype != np.float32 or not np.isfinite(cube).all():
            raise ValueError(
                f"{path}: expected {key} to be finite float32 of shape {expected}, got "
                f"{cube.dtype} {cube.shape}: {again}"
            )
    reference, lr = stored.pop("reference"), stored.pop("lr")
    results = {BICUBIC: imresize(lr, evaluation.scale), **stored}
    # The first metric of every protocol is cheap, and enough to tell one result from another.
    name, metric = next(iter(get_protocol(evaluation.protocol).metrics.items()))
    for method in evaluation.methods:
        made_now = float(metric(results[method], reference, scale=evaluation.scale))
        scored = evaluation.images[image][method][name]
        if not (made_now == scored or abs(made_now - scored) <= _SAME * abs(scored)):
            raise ValueError(
                f"{path} does not belong to the evaluation in {RESULTS}: {name} of {method} is "
                f"{made_now:.4f}, the table says {scored:.4f}: {again}"
            )
    return ImageCubes(reference, lr, results)
