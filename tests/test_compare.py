"""The comparison of several networks: what it measures, writes and refuses."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from support.scenes import random_variables

from dualsr_jax import DualSR, Network
from dualsr_jax.comparison.entries import Named, open_runs
from dualsr_jax.comparison.measure import PeakMemory, step_settings
from dualsr_jax.comparison.provenance import training_of
from dualsr_jax.comparison.published import published
from dualsr_jax.comparison.run import compare
from dualsr_jax.comparison.tables import Grid
from dualsr_jax.data.test_images import low_resolution
from dualsr_jax.exchange import convert
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.multiply_adds import multiply_adds
from dualsr_jax.models.network import make_model
from dualsr_jax.training.loop import train
from dualsr_jax.weights.safetensors_file import read_weights

COARSE = {"features": 4, "num_asfm": 1, "num_blocks": 1}
EDSR = {"method": "EDSR", "features": 4, "num_blocks": 1, "num_bands": 6}
SCENES = ("b", "test")


def variables_of(model, seed=0):
    return random_variables(model, seed, np.zeros((1, 6, 6, model.num_bands or 6), np.float32))


def save(path, settings, seed=0, about=None):
    """Writes a network with random weights."""
    model = make_model(settings)
    DualSR(Network(model, variables_of(model, seed))).save_pretrained(path, about)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Networks of two methods: CoarSR x4 and its guide, and two trainings of EDSR x4."""
    folder = tmp_path_factory.mktemp("weights")
    about = {"data": "made-up\n scenes", "recipe": "none, drawn"}
    return {
        "coarse": save(folder / "coarse.safetensors", {"scale": 4, **COARSE}, about=about),
        "half": save(folder / "half.safetensors", {"scale": 2, **COARSE}, 1),
        "edsr_0": save(folder / "edsr_0.safetensors", {"scale": 4, **EDSR}, 2),
        "edsr_1": save(folder / "edsr_1.safetensors", {"scale": 4, **EDSR}, 3),
        "wide": save(folder / "wide.safetensors", {"scale": 4, **EDSR, "features": 5}),
        "seven": save(folder / "seven.safetensors", {"scale": 4, **EDSR, "num_bands": 7}),
    }


@pytest.fixture
def config(make_config, tmp_path):
    """Two test scenes of 20x16 pixels, 6 bands, at x4, as if they were the published ones."""
    (tmp_path / "split.txt").write_text("[train]\na\n[test]\nb\ntest\n")
    return make_config("4", data__split=str(tmp_path / "split.txt"))


@pytest.fixture
def as_published(monkeypatch):
    """Takes any split for that of the publication."""
    from dualsr_jax.comparison import published as module

    results = [{**r, "splits": [module.UNKNOWN_SPLIT]} for r in module._results()]
    monkeypatch.setattr(module, "_results", lambda: results)


LABEL = "E|D_S $R & 50%"


@pytest.fixture
def compared(config, files, tmp_path, as_published, capsys):
    """The results of a comparison, its folder, and what was printed."""
    entries = [f"{LABEL}={files['edsr_0']}", files["coarse"], f"{LABEL}={files['edsr_1']}"]
    folder = tmp_path / "comparison"
    results = compare(config, entries, [files["half"]], output=folder)
    return results, folder, capsys.readouterr().out


def by_label(results):
    return {row["label"]: row for row in results["rows"]}


def hr_of(config, name):
    return np.load(f"{config.data.path}/{name}.npy").astype(np.float32)[:, :16] / 65535


def test_the_whole_comparison(compared, config, files):
    results, folder, printed = compared
    rows = by_label(results)
    # In the order of the paper's table; rows with the fine stage last.
    assert list(rows) == [
        *("Bicubic", "3D-FCNN", LABEL, "SSPSR", "MCNet", "SFCSR", "ERCSR", "CoarSR"),
        *(f"{LABEL} + fine stage", "DualSR"),
    ]
    check_scores(rows, config, files)
    check_costs(rows)
    check_published(rows)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("b_bands.png", "psnr_gmac.png", "results.csv", "results.json"),
        *("table.md", "table.tex", "test_bands.png"),
    ]
    assert json.loads((folder / "results.json").read_text()) == results
    check_csv(folder / "results.csv", rows)
    check_tables(folder, rows, printed)
    for name in SCENES:  # reference, bicubic, and two networks without and with the fine stage
        with Image.open(folder / f"{name}_bands.png") as figure:
            assert figure.width > 6 * 250


def check_scores(rows, config, files):
    dualsr = DualSR.from_pretrained(files["coarse"]).guided_by(
        DualSR.from_pretrained(files["half"])
    )
    for label, part in (("CoarSR", "coarse"), ("DualSR", "fine")):
        (run,) = rows[label]["runs"]
        assert run["sha256"] == dualsr.sha256
        for name in SCENES:
            hr = hr_of(config, name)
            cube = getattr(dualsr(low_resolution(hr, 4)), part).clip(0, 1)
            expected = float(psnr_db(cube, hr))
            assert run["images"][name]["psnr_db"] == pytest.approx(expected, abs=1e-4)
        scores = [run["images"][name]["ssim"] for name in SCENES]
        assert rows[label]["mean"]["ssim"] == pytest.approx(np.mean(scores))
        assert rows[label]["spread"] is None
    row = rows[LABEL]
    means = [run["mean"]["psnr_db"] for run in row["runs"]]
    assert [run["weights"] for run in row["runs"]] == [files["edsr_0"], files["edsr_1"]]
    assert means[0] != means[1]
    assert row["mean"]["psnr_db"] == pytest.approx(np.mean(means))
    assert row["spread"]["psnr_db"] == pytest.approx(np.std(means, ddof=1))


def check_costs(rows):
    coarse, edsr = make_model({"scale": 4, **COARSE}), make_model({"scale": 4, **EDSR})
    half = make_model({"scale": 2, **COARSE})
    assert rows["CoarSR"]["gmac"] == pytest.approx(multiply_adds(coarse, 6) / 1e9)
    both = multiply_adds(coarse, 6) + multiply_adds(half, 6, height=256, width=256)
    assert rows["DualSR"]["gmac"] == pytest.approx(both / 1e9)
    assert rows[LABEL]["gmac"] == pytest.approx(multiply_adds(edsr, 6) / 1e9)
    counts = [
        sum(leaf.size for leaf in jax.tree.leaves(variables_of(model)["params"]))
        for model in (coarse, half)
    ]
    assert rows["CoarSR"]["parameters"] == counts[0]
    assert rows["DualSR"]["parameters"] == sum(counts)
    assert rows["DualSR"]["guide"] == "CoarSR x2"
    assert rows[f"{LABEL} + fine stage"]["guide"] == "CoarSR x2"
    for label in ("CoarSR", LABEL):
        assert 0 < rows[label]["seconds_per_scene"] < 60
        assert 0.05 < rows[label]["peak_memory_gb"] < 100
        assert rows[label]["steps"] is None  # a file does not say
    fine = rows["DualSR"]
    assert fine["seconds_per_scene"] >= rows["CoarSR"]["seconds_per_scene"]


def check_published(rows):
    assert rows["CoarSR"]["published"]["psnr_db"] == 39.665
    assert rows["DualSR"]["published"]["sam_deg"] == 3.130
    assert rows[LABEL]["published"]["ssim"] == 0.9292  # of EDSR
    assert rows[f"{LABEL} + fine stage"]["published"] is None
    assert rows["MCNet"]["published"]["psnr_db"] == 39.026
    assert rows["MCNet"]["mean"] is None
    assert rows["Bicubic"]["published"]["psnr_db"] == 35.755


def check_csv(path, rows):
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    # Bicubic, two rows of one network, two rows of two trainings; two images and the mean of each.
    assert len(lines) == 3 * (1 + 2 + 4)
    for line in lines:
        runs = {run["weights"] or "": run for run in rows[line["method"]]["runs"]}
        run = runs[line["weights"]]
        scores = run["mean"] if line["image"] == "mean" else run["images"][line["image"]]
        assert {metric: float(line[metric]) for metric in scores} == scores
        assert bool(line["gmac"]) == (line["image"] == "mean" and line["method"] != "Bicubic")


def cells(line, separator):
    return [cell.strip() for cell in re.split(separator, line.strip().strip("|"))]


def check_tables(folder, rows, printed):
    markdown = (folder / "table.md").read_text()
    means = [line for line in markdown.split("\n\n")[0].splitlines() if line[0] == "|"]
    headings, body = cells(means[0], r" \| "), [cells(line, r"(?<!\\)\|") for line in means[2:]]
    assert len(body) == len(rows)
    assert body[2][0] == r"E\|D\_S \$R & 50% (2 runs)"
    latex = (folder / "table.tex").read_text()
    tabular = latex.split("\\end{tabular}")[0].split("\\hline\n")[1].splitlines()
    written = [cells(line.removesuffix(r"\\"), r"(?<!\\)&") for line in tabular]
    assert written[2][0] == r"E|D\_S \$R \& 50\% (2 runs)"
    assert {len(row) for row in (*body, *written)} == {len(headings)}
    psnr, gmac = headings.index("PSNR (dB)"), headings.index("GMAC")
    for row, ours, theirs in zip(rows.values(), body, written, strict=True):
        text = "" if row["mean"] is None else f"{row['mean']['psnr_db']:.3f}"
        assert ours[psnr].partition(" ±")[0] == text
        assert theirs[psnr].partition(" $")[0] == text
        assert ours[gmac] == ("" if row["gmac"] is None else f"{row['gmac']:,.1f}")
        assert text in printed
    spread = f"{rows[LABEL]['spread']['psnr_db']:.3f}"
    assert body[2][psnr].endswith(f" ± {spread}")
    assert written[2][psnr].endswith(rf" $\pm$ {spread}")
    images = markdown.split("\n\n")[1].splitlines()
    assert [cells(line, r"(?<!\\)\|")[0] for line in images[2:]] == [*SCENES, "mean"]
    scores = rows["CoarSR"]["runs"][0]["images"]["test"]
    shown = " / ".join(f"{scores[m]:.{d}f}" for m, d in zip(scores, (3, 4, 3), strict=True))
    for text in (markdown, latex, printed):
        assert shown in text
        assert "its file says: made-up scenes; none, drawn" in text
    assert "not known of" in printed
    assert "LaTeX" not in latex  # notes are comments, whatever they hold
    assert all(line[0] == "%" for line in latex.split("\\end{tabular}")[2].split("\n") if line)


def test_grids_keep_what_they_are_given():
    grid = Grid(["a", "b", "c"], [["x", "", "1"], ["y^~\\", "", ""]])
    assert grid.without_empty_columns().headings == ["a", "c"]
    assert grid.text() == "a     b  c\nx        1\ny^~\\"
    assert r"y\textasciicircum{}\textasciitilde{}\textbackslash{}" in grid.latex()


def test_labels():
    assert Named.parse("a=b=c") == Named("a", "b=c")
    assert Named.parse("runs/x4") == Named(None, "runs/x4")
    for text in ("=b", "a=", " =b", "a\n=b"):
        with pytest.raises(ValueError, match="names no weights: expected weights, or label="):
            Named.parse(text)


def test_names_that_are_not_unique_show_the_weights(config, files):
    how = {"which": "latest", "bands": 6}
    labels = [run.label for run in open_runs(config, [files["edsr_0"], files["edsr_1"]], [], **how)]
    assert labels == [f"EDSR ({files['edsr_0']})", f"EDSR ({files['edsr_1']})"]
    (run,) = open_runs(config, [f"A={files['coarse']}"], [f"A={files['half']}"], **how)
    assert (run.label, run.guide) == ("A", "CoarSR x2")
    (run,) = open_runs(config, [files["coarse"]], [], **how)
    assert (run.label, run.guide) == ("CoarSR", "LR image")


@pytest.mark.parametrize(
    ("entries", "halves", "message"),
    [
        (["half"], [], "holds a network of scale 2, but config.model.scale is 4"),
        (["coarse", "half"], [], "a table has one scale"),
        (["seven"], [], "holds EDSR for 7 bands, but the test images have 6"),
        (["A=edsr_0", "A=wide"], [], "have the label 'A', .* but are not one network"),
        (["A=coarse", "A=edsr_0"], [], "have the label 'A', .* but are not one network"),
        (["coarse", "coarse"], [], "is given twice"),
        (["Bicubic=coarse"], [], "'Bicubic' is the name of a row of its own"),
        (["coarse"], ["B=half"], "--half_weights is for 'B', which is not a label"),
        (["coarse"], ["half", "half"], "--half_weights names weights without label twice"),
        (["coarse"], ["edsr_0"], "the half-scale network has scale 4, .* has scale 4"),
    ],
)
def test_what_is_refused(config, files, tmp_path, entries, halves, message):
    def named(text):
        label, equals, weights = text.rpartition("=")
        return label + equals + files[weights]

    with pytest.raises(ValueError, match=message):
        compare(config, [*map(named, entries)], [*map(named, halves)], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_trainings_that_differ_are_refused(make_config, config, files, tmp_path):
    workdir = tmp_path / "x4"
    train(make_config("4", epochs=1 / 15, train__warm_start=files["coarse"]), workdir)
    other = make_config("4", data__split=config.data.split)
    with pytest.raises(ValueError, match=r"one table: '.*x4' was trained with split '.*split.txt'"):
        compare(config, [str(workdir)], output=tmp_path / "out")
    # As text in a file of weights.
    file = tmp_path / "x4.safetensors"
    convert(str(workdir), None, file)
    kept, known = training_of(file), training_of(workdir)
    split = Path(known.split)
    assert (kept.split, kept.data["split"]) == (split.name, split.name)
    assert kept.settings == known.settings | {"warm_start": "coarse.safetensors"}
    assert kept.protocol == known.protocol
    assert kept.degradation == known.degradation
    assert str(tmp_path) not in str(read_weights(file)[1])  # weights are given away
    other.data.split = str(tmp_path / "other.txt")
    assert "split 'split.txt', the config has" in kept.differences(other)[0]
    other.data.split = str(tmp_path / "elsewhere" / split.name)
    assert kept.differences(other) == []
    assert len(known.differences(other)) == 1
    other.data.split, other.protocol = f"{split.parent}/./{split.name}", "sspsr"
    with pytest.raises(ValueError, match="trained with protocol 'dualsr', the config has 'sspsr'"):
        compare(other, [str(file)], output=tmp_path / "out")
    other.protocol, other.data.name = "dualsr", "harvard"
    with pytest.raises(ValueError, match="trained with data set 'cave', the config has 'harvard'"):
        compare(other, [files["coarse"], str(file)], output=tmp_path / "out")
    other.data.name = "cave"
    (row,) = (
        row
        for row in compare(other, [workdir], output=str(tmp_path / "out"))["rows"]
        if row["label"] == "CoarSR"
    )
    assert (row["steps"], row["patches"]) == (1, 2)
    macs = multiply_adds(make_model({"scale": 4, **COARSE}), 6, height=16, width=16)
    assert row["training_pmac"] == pytest.approx(3 * 2 * macs / 1e15)
    drawn = dataclasses.replace(training_of(workdir), split="random, split_seed=0, test_share=0.2")
    other.data.split = "random"
    assert drawn.differences(other) == []
    other.data.split_seed = 1
    assert "has 'random, split_seed=1, test_share=0.2'" in drawn.differences(other)[0]
    other.degradation.kernel = "isotropic"
    assert training_of(workdir).trained_on_same_degradation(other) is False
    (workdir / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged: it is not JSON"):
        training_of(workdir)
    (workdir / "config.json").write_text('{"data": [1], "protocol": 3}')
    assert training_of(workdir).unknown() == ["data set", "split", "protocol"]
    shutil.rmtree(workdir)
    with pytest.raises(FileNotFoundError):
        compare(other, [str(workdir)], output=tmp_path / "out")


def test_published_scores(make_config):
    config = make_config("8", data__split="dualsr")
    scores, source = published(config)
    assert scores["EDSR"] == {"psnr_db": 31.554, "ssim": 0.8233, "sam_deg": 10.670}
    assert "split" not in source
    config.data.split = "20_12"
    assert published(config) == ({}, "")
    config.data.name = "harvard"
    scores, source = published(config)
    assert scores["DualSR"]["psnr_db"] == 35.628
    assert source.endswith("its split was not published")


def test_peak_memory_forgets_what_came_before():
    memory = PeakMemory()
    if memory.since_start:
        pytest.skip("this system cannot forget the former peak")
    at_first = memory.gb()
    held = np.ones(50_000_000)  # 0.4 GB
    del held
    assert memory.gb() > at_first + 0.35
    assert PeakMemory().gb() < at_first + 0.1


def test_steps_are_timed_with_the_settings_of_the_training(config, files, tmp_path):
    settings = step_settings(config, {"batch_size": 3, "update_every": "image", "unknown": 1})
    assert (settings.batch_size, settings.update_every) == (3, "image")
    assert settings.lr_patch == config.train.lr_patch
    with pytest.raises(ValueError, match="the settings of a training are damaged"):
        step_settings(config, {"batch_size": "two"})
    results = compare(config, [files["edsr_0"]], output=tmp_path, time_steps=True)
    assert 0 < by_label(results)["EDSR"]["seconds_per_step"] < 60
    assert "s per step" in (tmp_path / "table.md").read_text()
