"""One page of a scene as HTML: what the pages of evaluations and of predicted scenes share.

Contract: a page is one file that needs no server and no network. It holds Bokeh's own scripts and
the cubes as packed text (`packing`, `embedding`); `viewer.js` unpacks and runs them in the browser.
"""

import base64
import dataclasses
import functools
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from dualsr_jax.choices import MAX_MB
from dualsr_jax.composite import Composite, busiest_window
from dualsr_jax.extras import optional
from dualsr_jax.ops.resize import enlarging_weights
from dualsr_jax.pages.bokeh_views import Facts, build, colours
from dualsr_jax.pages.embedding import (
    ANGLE_STEP,
    FINER,
    LEVELS,
    Embedding,
    PageCubes,
    angles_deg,
    embed,
)
from dualsr_jax.pages.packing import pack

_OVERVIEW = 256  # longest side of the picture of the whole scene
_OPENING = 48, 160  # least and largest side of the window that is shown first, in pixels
_SLACK = 4096  # bytes by which the description of the cubes may grow


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """What a page shows."""

    title: str
    truth: str  # name of what the results are compared with
    cubes: PageCubes
    composite: Composite  # of the bands of the page
    overview: Float[np.ndarray, "_ _ 3"]  # the whole scene as a composite; NaN where masked
    whole: tuple[int, int]  # rows and columns of a whole result
    offset: tuple[int, int]  # row and column, in the whole result, of the first pixel of the page
    numbers: Sequence[int]  # of the bands, counted from 1
    wavelengths: Float[np.ndarray, "L"] | None  # of the bands, in nm
    texts: Mapping[str, Any]  # variables of the template that are not made here


def read_text(name: str) -> str:
    """Reads a file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _limit(values: np.ndarray) -> float:
    """The end of a colour scale: the 99th percentile, rounded to two digits."""
    return float(f"{max(float(np.percentile(values, 99)), 1e-3):.2g}")


def _picture(image: Float[np.ndarray, "_ _ 3"]) -> str:
    """A picture in [0, 1] as the address of a PNG; masked pixels are white."""
    step = -(-max(image.shape) // _OVERVIEW)
    levels = (255 * np.nan_to_num(image[::step, ::step], nan=1.0)).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _facts(content: Content, angles: np.ndarray) -> Facts:
    cubes = content.cubes
    truth, compared = cubes.truth, cubes.compared
    height, width, bands = cubes.bicubic.shape
    masked = np.zeros(truth.shape[:2], bool) if cubes.truth_masked is None else cubes.truth_masked
    seen = truth[~masked]
    seen = seen if len(seen) else np.zeros((1, bands), np.float32)
    low, high = np.percentile(seen, (0.2, 99.8), axis=0)  # [L] each
    high = np.where(high > low, high, low + max(float(np.abs(truth).max()), 1.0) / 1000)
    composite, times = content.composite, height // truth.shape[0]
    picture = np.where(masked[..., None], np.nan, composite(truth[..., composite.bands]))
    side = min(max(min(height, width) // 4, _OPENING[0]), _OPENING[1]) // times
    top, left = (times * part.start for part in busiest_window(picture, side, side))
    down, across = (min(side * times, length) for length in (height, width))
    wavelengths = content.wavelengths
    return Facts(
        truth=content.truth,
        methods=cubes.methods,
        shape=(height, width, bands),
        times=times,
        whole=content.whole,
        offset=content.offset,
        numbers=content.numbers,
        places=[float(x) for x in (content.numbers if wavelengths is None else wavelengths)],
        unit=None if wavelengths is None else "nm",
        contrast=list(zip(low.tolist(), high.tolist(), strict=True)),
        composite={
            "bands": [int(band) for band in composite.bands],
            **{name: getattr(composite, name).tolist() for name in ("weights", "low", "high")},
        },
        opening=(left, top, left + across, top + down),
        band=(bands + 1) // 2,
        pixel=(top + down // 2, left + across // 2),
        error_limit=_limit(np.abs(next(iter(compared.values())) - truth)),
        angle_limit=_limit(angles[0]),
        scale=cubes.scale,
        taps=enlarging_weights(cubes.scale).tolist(),
        inset=cubes.inset,
        finer=FINER,
        layers=[],
    )


@functools.lru_cache(maxsize=1)
def _packed(scripts: str) -> str:
    """The code of script elements as a packed text, a third as long."""
    code = "\n".join(re.findall(r"<script[^>]*>(.*?)</script>", scripts, re.DOTALL))
    return pack(code.encode())


def _later(scripts: str) -> str:
    """Turns script elements, but not data, into text that `viewer.js` runs when Bokeh is there."""
    code = r'<script(?![^>]*type="application/json")[^>]*>'
    return re.sub(code, '<script type="text/plain" class="later">', scripts)


def _html(content: Content, facts: Facts, embedding: Embedding, max_mb: float) -> str:
    jinja2 = optional("jinja2", "report")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template.filters.update(packed=_packed, later=_later)
    precision = (
        f"Values in this page are whole multiples of {embedding.step:.2g}, where 1 is full "
        f"intensity: the finest of a few steps with which the page has at most {max_mb:g} MB. The "
        "largest difference from the unrounded values, as measured, is "
        f"{embedding.largest_error:.2g}. Bands, composites, errors and spectra are computed in the "
        "browser from the rounded values. Spectral angles were computed from unrounded values, and "
        f"are kept in steps of {ANGLE_STEP:g} degrees."
    )
    page: str = optional("bokeh.embed", "report").file_html(
        build(facts),
        "inline",
        title=content.title,
        template=template.from_string(read_text("page.html")),
        template_variables={
            "css": read_text("page.css"),
            "viewer": read_text("viewer.js"),
            "facts": dataclasses.asdict(dataclasses.replace(facts, layers=embedding.layers)),
            "cubes": embedding.text,
            "methods": facts.methods,
            "colours": colours(facts.truth, facts.methods),
            "overview": _picture(content.overview),
            "composite": content.composite.name,
            **content.texts,
            "precision": f"{content.texts['precision']} {precision}".strip(),
        },
    )
    return page


def render(
    content: Content, max_mb: float = MAX_MB, levels: Sequence[int] = LEVELS
) -> tuple[bytes, Embedding]:
    """Makes a page; returns its bytes, and the cubes that it holds.

    The cubes are kept in the finest steps with which the page has at most `max_mb` (in 1e6 bytes).
    It has more if the coarsest steps do not suffice. Raises ValueError if Bokeh is not installed.
    """
    angles = angles_deg(content.cubes)
    facts = _facts(content, angles)
    around = len(_html(content, facts, Embedding("", [], 1.0, 0.0), max_mb).encode()) + _SLACK
    embedding = embed(content.cubes, angles, max_mb * 1e6 - around, levels)
    return _html(content, facts, embedding, max_mb).encode(), embedding
