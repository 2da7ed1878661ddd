import re

import pytest
from support.files import ROOT

from dualsr_jax import recipe
from dualsr_jax.data import split as module
from dualsr_jax.data.split import Selection, divide, published_splits
from dualsr_jax.ops.augment import NUM_VARIANTS


def names_of(parts):
    return {part: [s.text for s in selections] for part, selections in parts.items()}


TEN = [f"s{k}" for k in range(10)]


def test_random_is_a_share_by_seed():
    drawn = divide(TEN, "random", test_share=0.3, seed=1)
    assert (len(drawn["test"]), len(drawn["train"])) == (3, 7)
    assert drawn == divide(TEN, "random", test_share=0.3, seed=1)
    assert drawn != divide(TEN, "random", test_share=0.3, seed=2)
    assert drawn == divide(TEN[::-1], "random", test_share=0.3, seed=1)  # of any order of files


def test_every_scene_is_tested_in_one_fold():
    folds = [names_of(divide(TEN, f"fold {k}/3", seed=1)) for k in (1, 2, 3)]
    tested = [name for fold in folds for name in fold["test"]]
    assert sorted(tested) == TEN
    assert sorted(len(fold["test"]) for fold in folds) == [3, 3, 4]
    assert all(sorted(fold["test"] + fold["train"]) == TEN for fold in folds)


@pytest.mark.parametrize("how", ["random", "fold 1/2", "fold 2/2"])
def test_names_that_look_like_wildcards_are_names(how):
    names = ["a*", "ab", "a?", "x[1]", "y[:2, :3]", "["]
    for seed in range(5):
        parts = divide(names, how, seed=seed)
        assert sorted(s.name for s in parts["train"] + parts["test"]) == sorted(names)
        assert all(s == Selection.whole(s.name) for s in parts["train"] + parts["test"])


def test_the_published_splits_of_cave(tmp_path):
    splits = published_splits("cave")
    assert list(splits) == ["20_12", "dualsr", "dualsr_25"]
    lines = splits["20_12"].read_text().split("\n")
    scenes = [line for line in lines if line and line[0] not in "#["]
    assert len(scenes) == 32
    dualsr = names_of(divide(scenes, "dualsr", data_set="cave"))
    assert (len(dualsr["train"]), len(dualsr["test"])) == (24, 7)
    assert "balloons" in dualsr["test"]
    more = names_of(divide(scenes, "dualsr_25", data_set="cave"))
    assert more["test"] == dualsr["test"]
    assert set(more["train"]) - set(dualsr["train"]) == {"watercolors"}
    assert len(more["train"]) == 25
    settings = recipe.defaults().train
    images = len(dualsr["train"]) * len(settings.resize_scales)
    assert images * settings.patches_per_image * NUM_VARIANTS == 8640  # as published
    with pytest.raises(ValueError, match="there is no scene 'beads': the source has"):
        divide([s for s in scenes if s != "beads"], "dualsr", data_set="cave")
    other = names_of(divide(scenes, "20_12", data_set="cave"))
    assert (len(other["train"]), len(other["test"])) == (20, 12)
    assert max(other["train"]) < min(other["test"])
    with pytest.raises(ValueError, match=r"unknown data\.split 'dualsr': expected 'random', 'fold"):
        divide(scenes, "dualsr", data_set="mine")


@pytest.mark.parametrize(
    ("data_set", "shape", "sides"),
    [("chikusei", (2304, 2048), {512}), ("pavia_centre", (1096, 715), {224})],
)
def test_parts_of_the_remote_sensing_scenes(data_set, shape, sides):
    parts = divide([data_set], "sspsr", data_set=data_set)
    assert len(parts["test"]) == 4
    for s in parts["test"]:
        slices = zip((s.rows, s.columns), shape, strict=True)
        assert {len(range(*part.indices(length))) for part, length in slices} == sides
    for k, one in enumerate(parts["test"]):
        assert not any(one.overlaps(other) for other in parts["test"][k + 1 :])


def test_a_split_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(
        "# remark\n[test]\n  a[:, 64:70]   # its right\ns[1]\n".replace("s[1]\n", "")
        + "[train]\na[:, :64]\na[0:9, 70:80]\nb*\n[validation]\nc\n"
    )
    parts = divide(["a", "b1", "b2", "c"], str(path))
    assert parts["test"] == [Selection("a", slice(None), slice(64, 70), text="a[:, 64:70]")]
    assert [s.name for s in parts["train"]] == ["a", "a", "b1", "b2"]
    assert [s.name for s in parts["validation"]] == ["c"]
    path.write_text("[test]\na\n")
    assert [s.name for s in divide(["a", "b", "c"], str(path))["train"]] == ["b", "c"]
    parts = divide(["a", "b", "c"], str(path), validation=("c",))
    assert names_of(parts) == {"train": ["b"], "validation": ["c"], "test": ["a"]}
    path.write_text("[train]\nb\nc\n[test]\na\n")
    parts = divide(["a", "b", "c"], str(path), validation=("c",))
    assert names_of(parts) == {"train": ["b"], "validation": ["c"], "test": ["a"]}


@pytest.mark.parametrize(
    ("document", "trained"),
    [
        ((ROOT / "docs" / "data.md").read_text(), ["indian_pines", "pens"]),
        (module.__doc__, ["campus", "paints", "pens"]),
    ],
)
def test_the_examples_in_the_documentation(tmp_path, document, trained):
    path = tmp_path / "mine.txt"
    path.write_text(re.search(r"# anything.*(\n *[^`\s].*)+", document)[0])
    parts = divide(["balloons", "campus", "indian_pines", "paints", "pens"], str(path))
    assert [s.name for s in parts["train"]] == trained


def test_wildcards_and_validation_hold_out_what_they_select(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("[train]\n?*[:9, :]\nb[20:, :]\nc1\n[test]\na[9:, :]\nb[:10, :]\n")
    parts = divide(["a", "b", "c1", "d"], str(path), validation=("d",))
    assert names_of(parts)["train"] == ["?*[:9, :]", "?*[:9, :]", "b[20:, :]", "c1"]
    assert [s.name for s in parts["train"]] == ["a", "c1", "b", "c1"]
    parts = divide(["a", "b", "c1", "d"], str(path), validation=("c*", "d"))
    assert [s.name for s in parts["train"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\na[:, :65]\n[test]\na[:, 64:]", r"train and test share .*: a\[:, :65\] / a\["),
        ("[train]\n*\n[test]\n*", "no scene is left for train"),
        ("[train]\na\nballoons\n[test]\nballoons\na", "these scenes: a, balloons"),
        (
            "[test]\nbaloons\nzebra",
            r"no scene 'baloons' \(did you mean 'balloons'\?\), 'zebra': the",
        ),
        ("[test]\na\na", r"mine\.txt is not a split file: .*option 'a' .* already exists"),
        ("a\nb", r"mine\.txt is not a split file: .*no section headers"),
        ("[test]\n[train]\na", "no scene is left for test"),
        ("[train]\na", r"has no section \[test\]"),
        ("[testing]\na", r"the section \[testing\]"),
        ("[test]\na[1]", "selects no scene"),
        ("[test]\n*", "no scene is left for train"),
    ],
)
def test_bad_split_files(tmp_path, text, message):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        divide(["a", "balloons"], str(path))


@pytest.mark.parametrize(
    ("how", "settings", "message"),
    [
        ("random", {"test_share": 1.5}, r"data\.test_share must be between 0 and 1, got 1\.5"),
        ("fold 4/3", {}, "'fold 4/3' does not divide 10 scenes"),
        ("fold 1/11", {}, "with K from 1 to N and N from 2 to 10"),
        ("halves", {}, r"unknown data\.split 'halves': expected 'random', 'fold K/N' or the path"),
    ],
)
def test_bad_settings(how, settings, message):
    with pytest.raises(ValueError, match=message):
        divide(TEN, how, **settings)


def test_a_missing_split_file():
    with pytest.raises(FileNotFoundError, match=r"no split file 'nowhere\.txt'"):
        divide(TEN, "nowhere.txt")
