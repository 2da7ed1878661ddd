"""Measures what consistency and clipping cost and gain, on scenes of any camera.

    python scripts/radiometry_study.py --weights cave_x4_small scene.hdr other.mat

The top-left pixels of each scene, or all, are the reference of `other_scenes.py`; reduced by MATLAB
bicubic, they are the input. A row has, for each form of the result, its consistency with the input
in dB, and its PSNR, SSIM and SAM against the reference, all without further clipping.
"""

import argparse
from pathlib import Path

import numpy as np
from other_scenes import reference

from dualsr_jax.back_projection import correct
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol
from dualsr_jax.radiometry import Radiometry, psnr_db
from dualsr_jax.training.restore import restore_dualsr

FORMS = {
    "DualSR": Radiometry(),
    "consistent 1": Radiometry(consistent=1),
    "unit": Radiometry(clip="unit"),
    "unit, consistent 1": Radiometry(clip="unit", consistent=1),
    "unit, consistent 10": Radiometry(clip="unit", consistent=10),
    "input": Radiometry(clip="input"),
    "input, consistent 3": Radiometry(clip="input", consistent=3),
}


def consistency_db(sr: np.ndarray, lr: np.ndarray) -> float:
    """PSNR of a result, reduced, against its input."""
    error = imresize(sr, lr.shape[0] / sr.shape[0]).astype(np.float64) - lr
    return psnr_db(float(np.square(error).sum()), error.size)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--weights", default="cave_x4_small", help="file or name of weights")
    parser.add_argument(
        "--side", type=int, default=80, help="pixels of a scene along a side; 0: the whole scene"
    )
    parser.add_argument(
        "--forms", nargs="+", choices=FORMS, default=list(FORMS), help="forms of the result"
    )
    options = parser.parse_args()
    side = slice(options.side or None)
    dualsr, protocol = restore_dualsr(options.weights), get_protocol("dualsr")
    print(f"| x{dualsr.scale} | size | " + " | ".join(options.forms) + " |")
    print("| --- " * (2 + len(options.forms)) + "|")
    for path in options.scenes:
        hr, lr = reference_and_lr(
            reference(path)[side, side],
            dualsr.scale,
            degradation=Degradation(),
            name=path.stem,
            seed=0,
        )
        fine, cells = dualsr.upscale(lr, peak=1.0), []
        for form in options.forms:
            cube = correct(FORMS[form], fine, lr)
            scores = protocol.score_image(cube, hr, scale=dualsr.scale)
            text = "{psnr_db:.3f} / {ssim:.4f} / {sam_deg:.3f}".format(**scores)
            cells.append(f"{consistency_db(cube, lr):.1f} dB, {text}")
        size = "x".join(map(str, hr.shape))
        print(f"| {path.stem} | {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
