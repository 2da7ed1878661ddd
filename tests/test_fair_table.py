"""The fair table, at a size that takes seconds."""

import json
import sys

import numpy as np
import pytest
from support.files import ROOT, load

from dualsr_jax.models.multiply_adds import multiply_adds
from dualsr_jax.models.network import make_model
from dualsr_jax.ops.resize import imresize


@pytest.fixture
def run(tmp_path, rng, monkeypatch):
    """Runs the script with tiny networks on tiny scenes, in a folder of its own."""
    for name in ("a", "b", "held", "test"):
        cube = imresize(rng.random((9, 9, 6)), 4).clip(0, 1)  # 36 pixels: half of it holds a patch
        np.save(tmp_path / f"{name}.npy", (cube * 65535).astype(np.uint16))
    (tmp_path / "split.txt").write_text("[test]\ntest\n")
    script = load(ROOT / "scripts" / "fair_table.py")

    def run(*flags, output="fair"):
        places = {"data": tmp_path, "split": tmp_path / "split.txt", "output": tmp_path / output}
        given = [f"--{name}={value}" for name, value in places.items()]
        common = ["--methods=edsr", "--rates=1e-3,1e-2", "--seeds=0,3", "--held_out=held", "--tiny"]
        monkeypatch.setattr(sys, "argv", ["fair_table.py", *given, *common, "--all_cores", *flags])
        script.main()
        return tmp_path / output

    return run


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_the_fair_table(run, capsys, monkeypatch):
    folder = run("--minutes=1e-2")
    fair = json.loads((folder / "fair.json").read_text())
    assert list(fair["networks"]) == ["edsr", "edsr-bicubic"]
    for name, network in fair["networks"].items():
        skip = "bicubic" if "bicubic" in name else "published"
        settings = {"scale": 4, "num_bands": 6, "features": 4, "num_blocks": 1, "skip": skip}
        macs = multiply_adds(make_model({"method": "EDSR", **settings}), 6, height=16, width=16)
        assert network["tera_macs_per_step"] == pytest.approx(3 * 2 * macs / 1e12)
        steps = network["steps"]
        assert network["patches"] == 2 * steps
        check_trainings(folder / name, network, steps)
    results = json.loads((folder / "comparison" / "results.json").read_text())
    rows = {row["label"]: row for row in results["rows"]}
    assert list(rows) == [
        *("Bicubic", "EDSR", "EDSR, bicubic added"),
        *("EDSR + fine stage", "EDSR, bicubic added + fine stage"),
    ]
    assert len(rows["EDSR"]["runs"]) == 2
    assert rows["EDSR"]["steps"] == fair["networks"]["edsr"]["steps"]
    # Its last layer begins so small that training begins at the bicubic image.
    bicubic = rows["Bicubic"]["mean"]["psnr_db"]
    assert abs(rows["EDSR, bicubic added"]["mean"]["psnr_db"] - bicubic) < 3
    check_page(folder, rows, fair["networks"], monkeypatch)
    check_resumed(run, folder, capsys)


def check_page(folder, rows, networks, monkeypatch):
    """The table in the documentation has the figures of the comparison; the rest stays."""
    page = folder / "page.md"
    page.write_text("before\n<!-- fair table -->\nold\n<!-- end of fair table -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["fair_results.py", str(folder), str(page)])
    script = load(ROOT / "scripts" / "fair_results.py")
    script.main()
    first = page.read_text()
    script.main()
    assert page.read_text() == first
    lines = first.splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    facts = " ".join(lines[2 : lines.index("")])
    assert "tried for each network: 0.001, 0.01; trainings of each network, by seed: 2." in facts
    tables = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[0:1] == "|"]
    found = {cells[0]: dict(zip(tables[0], cells, strict=True)) for cells in tables[2:5]}
    assert list(found) == ["Bicubic", "EDSR", "EDSR, bicubic added"]
    for label, cells in found.items():
        mean, spread = rows[label]["mean"], rows[label]["spread"]
        shown = f"{mean['psnr_db']:.3f}" + (f" ± {spread['psnr_db']:.3f}" if spread else "")
        assert cells["PSNR / SSIM / SAM"].split(" / ")[0] == shown
    fine = rows["EDSR + fine stage"]["mean"]["sam_deg"]
    assert found["EDSR"]["with the fine stage"].split(" / ")[2].startswith(f"{fine:.3f} ±")
    assert found["EDSR"]["steps"] == f"{networks['edsr']['steps']:,}"
    assert found["EDSR"]["rate"] == f"{networks['edsr']['learning_rate']:g}"
    bicubic = rows["Bicubic"]["mean"]["psnr_db"]  # of one scene
    assert tables[5:8] == [["PSNR (dB)", "test"], ["---", "---"], ["Bicubic", f"{bicubic:.3f}"]]
    page.write_text("no lines")
    with pytest.raises(SystemExit):
        script.main()
    assert page.read_text() == "no lines"


def check_trainings(folder, network, steps):
    """The rate is the best of the tries, each a third as long; the trainings are as planned."""
    psnr = {}
    for rate in (1e-3, 1e-2):
        tried = records(folder / f"rate_{rate:g}")[-1]
        assert tried["step"] == max(1, round(steps / 3))
        psnr[f"{rate:g}"] = tried["validation_psnr_db"]
    assert network["validation_psnr_db"] == psnr
    assert network["learning_rate"] == float(max(psnr, key=psnr.get))
    for seed in (0, 3):
        workdir = folder / f"seed_{seed}"
        assert records(workdir)[-1]["step"] == steps
        config = json.loads((workdir / "config.json").read_text())
        assert config["seed"] == seed
        train = config["train"]
        assert train["learning_rate"] == network["learning_rate"]
        assert (train["schedule"], train["last_rate"], train["loss"]) == ("cosine", 0.01, "l1")
        assert train["warmup_epochs"] == pytest.approx(0.05 * train["epochs"])
        assert config["data"]["validation"] == []
    assert len(network["training_seconds"]) == 2


def check_resumed(run, folder, capsys):
    """A second call trains nothing again; another budget is refused."""
    files = [p for p in folder.rglob("*") if p.is_file() and "comparison" not in p.parts]
    before = {p: p.stat().st_mtime_ns for p in files if p.name not in ("fair.json", "page.md")}
    run("--minutes=1e-2", "--methods=edsr,mcnet", "--table_only")
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == [
        *("comparison", "edsr", "edsr-bicubic")
    ]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    with pytest.raises(SystemExit, match=r"was begun with .* another --output"):
        run("--tera_macs=1")
    capsys.readouterr()


def test_a_single_rate_is_taken_untried_and_the_table_can_wait(run):
    flags = ("--rates=1e-2", "--seeds=3", "--skips=published", "--tera_macs=1e-9")
    folder = run(*flags, "--train_only", output="alone")
    assert [path.name for path in folder.iterdir()] == ["edsr"]
    assert {path.name for path in (folder / "edsr").iterdir()} == {"plan.json", "seed_3"}
    config = json.loads((folder / "edsr" / "seed_3" / "config.json").read_text())
    assert config["train"]["learning_rate"] == 1e-2
    with pytest.raises(SystemExit, match="no network is finished at these rates, seeds"):
        run(*flags, "--table_only", "--seeds=4", output="alone")
    assert [path.name for path in folder.iterdir()] == ["edsr"]


def test_the_plan(run, capsys):
    folder = run("--tera_macs=1e-6", "--plan", output="planned")
    assert not folder.exists()
    printed = capsys.readouterr().out
    assert "EDSR, bicubic added: " in printed
    assert "steps per training" in printed
    assert "rates 0.001, 0.01 on held, a third of the budget each; then seeds 0, 3" in printed
    run("--minutes=30", "--plan", output="planned")
    hours = 2 * 30 * (2 / 3 + 2) / 60
    assert f"2 networks x 2.67 budgets of 30 minutes: {hours:.1f} hours" in capsys.readouterr().out
    run("--minutes=30", "--rates=1e-3", "--plan", output="planned")
    printed = capsys.readouterr().out
    assert "each: rates 0.001; then seeds 0, 3 on all training scenes" in printed
    assert "2 networks x 2.00 budgets of 30 minutes: 2.0 hours" in printed
    for flags in ((), ("--minutes=0",), ("--minutes=1", "--methods=edsr,edsl")):
        with pytest.raises(SystemExit):
            run(*flags)
