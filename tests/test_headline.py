"""The headline run, at a size that takes seconds."""

import importlib.util
import json
import sys

import numpy as np
from support.files import ROOT

from dualsr_jax import DualSR
from dualsr_jax.ops.resize import imresize


def load():
    spec = importlib.util.spec_from_file_location("headline", ROOT / "scripts" / "headline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_trains_for_the_time_and_scores(tmp_path, rng, monkeypatch, capsys):
    for name in ("a", "test"):
        cube = imresize(rng.random((9, 9, 6)), 4).clip(0, 1)  # 36 pixels: half of it holds a patch
        np.save(tmp_path / f"{name}.npy", (cube * 65535).astype(np.uint16))
    (tmp_path / "split.txt").write_text("[test]\ntest\n")
    output = tmp_path / "headline"
    sizes = {"features": 4, "batch_size": 2, "lr_patch": 4, "minutes": 1e-4}
    places = {"data": tmp_path, "split": tmp_path / "split.txt", "output": output}
    flags = [f"--{name}={value}" for name, value in (sizes | places).items()]
    monkeypatch.setattr(sys, "argv", ["headline.py", *flags])
    headline = load()
    make_config = headline.make_config

    def smallest(options):
        config = make_config(options)
        config.model.num_asfm = config.model.num_blocks = 1
        return config

    monkeypatch.setattr(headline, "make_config", smallest)
    headline.main()
    plan = json.loads((output / "plan.json").read_text())
    assert plan["steps"] >= 1
    records = (output / "workdir" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(records[-1])["step"] == plan["steps"]
    results = json.loads((output / "evaluation" / "results.json").read_text())
    row = (output / "row.md").read_text()
    assert f"{results['mean']['DualSR']['psnr_db']:.4f}" in row
    assert row.strip() in capsys.readouterr().out
    dualsr = DualSR.from_pretrained(output / "x4.safetensors")
    assert dualsr.coarse.model.joint
    assert dualsr.coarse_stage.ratio == 2
    assert not (output / "trial").exists()
