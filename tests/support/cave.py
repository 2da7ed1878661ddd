"""Real CAVE scenes where they are at hand, and folders like those that CAVE comes in."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from support.files import ROOT

from dualsr_jax.data.sources import normalise

DATA = ROOT.parent / "shared" / "data"
SCENES = ["balloons", "cloth", "face", "fake_and_real_lemons", "flowers", "hairs", "oil_painting"]


def read(scene):
    codecs = pytest.importorskip("imagecodecs", reason="the scenes are packed as JPEG XL")
    with zipfile.ZipFile(DATA / "cave" / "test" / f"{scene}_ms.zip") as archive:
        bands = [
            codecs.jpegxl_decode(io.BytesIO(archive.read(name)).getvalue())
            for name in sorted(archive.namelist())
        ]
    return normalise(np.stack(bands, -1), None, scene)


def write_cave(folder, name, cube, nested=True):
    inner = folder / f"{name}_ms" / f"{name}_ms" if nested else folder / f"{name}_ms"
    inner.mkdir(parents=True)
    for k in range(cube.shape[-1]):
        Image.fromarray(cube[..., k]).save(inner / f"{name}_ms_{k + 1:02d}.png")
    (inner / f"{name}_RGB.bmp").write_bytes(b"preview, not a band")
