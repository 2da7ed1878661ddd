"""The protocol against published figures, on real CAVE scenes where they are at hand."""

import functools
import json

import jax
import pytest
from support.cave import DATA, SCENES, read

from dualsr_jax.metrics import psnr_db, ssim
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import PROTOCOLS

pytestmark = pytest.mark.skipif(
    not (DATA / "cave" / "test").is_dir(), reason="CAVE is not beside this checkout"
)


def bicubic(hr, scale):
    return imresize(imresize(hr, 1 / scale), scale)


@functools.cache
def optimised_score(scale):
    """`score` as users compile it: in other tests compiling takes the time, here running does."""
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    score = functools.partial(PROTOCOLS["dualsr"].score, scale=scale)
    return jax.jit(score, compiler_options=options)


@pytest.mark.parametrize("scene", SCENES)
def test_bicubic_figures(scene):
    expected = json.loads((DATA / "bicubic_cave.json").read_text())[scene]
    hr = read(scene)
    for scale in (4, 8):
        scores = optimised_score(scale)(bicubic(hr, scale), hr)
        for name, tolerance in (("psnr_db", 6e-4), ("ssim", 1e-4), ("sam_deg", 6e-4)):
            published = expected[f"x{scale}"][name]
            assert float(scores[name]) == pytest.approx(published, abs=tolerance), (scale, name)


def test_published_bands_of_balloons():
    hr = read("balloons")
    sr = bicubic(hr, 4)
    for band, psnr, similarity in ((10, 40.570, 0.9833), (20, 39.248, 0.9832)):
        one = slice(band - 1, band)
        assert float(psnr_db(sr[..., one], hr[..., one])) == pytest.approx(psnr, abs=5e-4)
        assert float(ssim(sr[..., one], hr[..., one])) == pytest.approx(similarity, abs=5e-5)
