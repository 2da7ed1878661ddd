"""The interactive page of a scene, in a real browser, and what the report refuses."""

import inspect
import io
import json
import re
import shutil
import sys
import zlib

import numpy as np
import pytest
from absl import flags
from PIL import Image

from dualsr_jax import report
from dualsr_jax.evaluation.cubes import file_name, read_cubes, write_cubes
from dualsr_jax.evaluation.results import read_evaluation
from dualsr_jax.figures import Look, Spectra, band_figure, report_figure, spectra_figure
from dualsr_jax.flag_table import define
from dualsr_jax.ops import resize
from dualsr_jax.ops.resize import imresize
from dualsr_jax.pages.embedding import PageCubes, embed
from dualsr_jax.pages.page import PageOptions, write_pages
from dualsr_jax.pages.scene_page import write_scene_page

METHODS = ("Bicubic", "CoarSR", "DualSR")
ORDER = (*METHODS, "Reference")
# Largest error of a value in a page of values below 1.5; that of bicubic is a little larger.
HALF = 0.6 * 1.5 / 4095 + 1e-6
ODD = "b <i>&#[:, 4:]"  # a scene's name with all that HTML and files could stumble over
HEIGHT, WIDTH, BANDS = 12, 16, 6
FIRST = HEIGHT // 2, WIDTH // 2  # row and column of the pixel that is shown first


def psnr(a, b):
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2)))


def angles_deg(a, b):
    """Independent of ours: the arccos of unit spectra, in float64."""
    a, b = (x.astype(np.float64) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    return np.rad2deg(np.arccos((a * b).sum(-1).clip(-1, 1)))


def make_evaluation(folder, scenes=("a", ODD)):
    """An evaluation at x2 of two scenes, as `evaluate` leaves it; SSIM and SAM are made up."""
    rng, images = np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    for scene in scenes:
        lr = rng.random((HEIGHT // 2, WIDTH // 2, BANDS)).astype(np.float32)
        results = {"Bicubic": imresize(lr, 2)}
        reference = results["Bicubic"] + rng.normal(0, 0.1, results["Bicubic"].shape)
        reference = reference.clip(0, 1).astype(np.float32)
        for method in METHODS[1:]:
            results[method] = reference + rng.normal(0, 0.05, reference.shape).astype(np.float32)
        write_cubes(folder, scene, reference=reference, lr=lr, results=results)
        scores = {
            method: {"psnr_db": psnr(cube, reference), "ssim": 0.9 + k / 100, "sam_deg": 5.0 - k}
            for k, (method, cube) in enumerate(results.items())
        }
        images[scene] = {"scores": scores, "gains": [0.25], "seconds": 1.0}
    content = {
        "scale": 2,
        "protocol": "dualsr",
        "mean": images[scenes[0]]["scores"],
        "images": images,
    }
    (folder / "results.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def evaluation(tmp_path):
    return make_evaluation(tmp_path / "evaluation")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A driver of Chromium that logs what goes wrong and what is asked of the network."""
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        pytest.skip("chromium and chromedriver are not installed: the page is not opened")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    user = tmp_path_factory.mktemp("chromium")
    for switch in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "window-size=1400,1000", f"user-data-dir={user}"),
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(paths[1]))
    yield driver
    driver.quit()


class Page:
    """A page in the browser: what is shown, and what can be moved."""

    def __init__(self, driver, path):
        from selenium.webdriver.common.action_chains import ActionChains

        self.driver, self.hands = driver, ActionChains(driver, duration=20)
        driver.get(path.as_uri())
        self.wait("return document.body.dataset.state === 'ready'")

    def wait(self, condition):
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 60).until(lambda driver: driver.execute_script(condition))

    def model(self, name, code):
        """What code makes of the Bokeh model `m` of a name."""
        get = f"const m = Bokeh.documents[0].get_model_by_name('{name}');"
        return self.driver.execute_script(f"{get} return {code}")

    def by_id(self, name):
        return self.driver.find_element("id", name)

    def within(self, selector):
        """An element in any of Bokeh's shadow roots."""
        return self.driver.execute_script(
            """const find = (root) => root.querySelector(arguments[0]) ?? [...root
            .querySelectorAll('*')].map((e) => e.shadowRoot && find(e.shadowRoot)).find((e) => e);
            return find(document)""",
            selector,
        )

    def button(self, label):
        """Bokeh's button of a label."""
        return self.driver.execute_script(
            """const find = (root) => [...root.querySelectorAll('*')].map((e) =>
            (e.matches('.bk-btn') && e.textContent === arguments[0]) ? e :
            e.shadowRoot && find(e.shadowRoot)).find((e) => e);
            return find(document)""".replace("arguments[0]", json.dumps(label)),
        )

    def data(self, view):
        """The image that a view has to draw: numbers, or colours `[H, W, 3]`."""
        image = "m.renderers[0].data_source.data.image[0]"
        values = self.model(f"view_{view}", f"Array.from({image}, (x) => isNaN(x) ? null : x)")
        values = np.array(values, float).reshape(self.model(f"view_{view}", f"{image}.shape"))
        if view not in ("left", "right", "swipe"):
            return values
        colours = values.astype(np.int64)
        assert (colours >> 24 == 255).all()  # opaque
        return np.stack([colours >> shift & 255 for shift in (0, 8, 16)], -1)

    def seen(self, view):
        """The colours at the centres of an image's pixels, `[H, W, 3]`, from a picture of it."""
        picture = Image.open(io.BytesIO(self.by_id(f"view-{view}").screenshot_as_png))
        picture = np.asarray(picture.convert("RGB")).astype(int)
        places = [
            ((np.arange(count) + 0.5) * length / count).astype(int)
            for count, length in zip((HEIGHT, WIDTH), picture.shape, strict=False)
        ]
        return picture[np.ix_(*places)]

    def at(self, view, row, column):
        """Puts the pointer on a pixel of a view that shows the whole image."""
        element = self.by_id(f"view-{view}")
        width, height = element.size["width"], element.size["height"]
        x, y = ((column + 0.5) / WIDTH - 0.5) * width, ((row + 0.5) / HEIGHT - 0.5) * height
        return self.hands.move_to_element_with_offset(element, round(x), round(y))

    def leave(self):
        """Takes the pointer, and with it the cross, off the views."""
        self.hands.move_to_element(self.by_id("band")).perform()


def assert_seen(page, view, expected, atol):
    """Asserts that the colours `[H, W, 3]` of a view are there and are seen, but under the mark."""
    under_mark = np.zeros((HEIGHT, WIDTH), bool)
    under_mark[FIRST] = True
    assert np.abs(page.data(view) - expected).max() <= atol
    assert np.abs(page.seen(view) - page.data(view))[~under_mark].max() <= 1


def levels(share):
    """Colours from 0 to 255 of a share of full colour."""
    return np.floor(256 * share).clip(0, 255)


def grey(cube, reference, band):
    low, high = np.percentile(reference[..., band], (0.2, 99.8))
    return np.repeat(levels((cube[..., band] - low) / (high - low))[..., None], 3, -1)


@pytest.fixture(scope="module")
def built(tmp_path_factory, scene_cubes):
    """An evaluation with its pages, and with the page of a scene without ground truth."""
    folder = make_evaluation(tmp_path_factory.mktemp("built") / "evaluation")
    write_pages(folder, options=PageOptions(wavelengths_nm=(400, 700)))
    lr, results = scene_cubes
    scores = {name: {"psnr_db": 40.0, "sam_deg": None} for name in ("Bicubic", *results)}
    page = folder / "report" / "scene.html"
    bad = np.arange(BANDS) == 3
    write_scene_page(lr, results, 2, page, scores=scores, bad_bands=bad, title="A scene")
    return folder


@pytest.fixture(scope="module")
def scene_cubes():
    """A scene whose first pixel is masked, and whose detail is in rows 35 to 45, and results."""
    rng = np.random.default_rng(1)
    lr = 0.3 + 0.02 * rng.random((56, 60, BANDS)).astype(np.float32)
    lr[35:45, 20:40] += 0.4 * rng.random((10, 20, BANDS), np.float32)
    lr[0, 0, 0] = np.nan
    results = {
        name: imresize(np.nan_to_num(lr), 2) + 0.02 * rng.random((112, 120, BANDS), np.float32)
        for name in METHODS[1:]
    }
    return lr, results


@pytest.fixture(scope="module")
def cubes(built):
    return read_cubes(read_evaluation(built), "a")


@pytest.fixture
def page(chromium, built):
    """The page of scene a as it opens; asserts that it logs no error and needs no network."""
    page = Page(chromium, built / "report" / "a.html")
    page.leave()
    yield page
    assert [entry for entry in chromium.get_log("browser") if entry["level"] != "INFO"] == []
    messages = [
        json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")
    ]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # Chromium's own first page asks for much.
    urls = [r["request"]["url"] for r in requests if r["documentURL"].startswith("file:")]
    assert (built / "report" / "a.html").as_uri() in urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_page_opens_on_composites_of_one_stretch(page, cubes):
    chosen = [4, 2, 1]  # nearest to 640, 550 and 470 nm of bands at 400, 460 ... 700 nm
    low, high = np.percentile(cubes.reference[..., chosen], (2, 98), axis=(0, 1))
    for view, method in (("left", "Bicubic"), ("right", "DualSR")):
        share = (cubes.results[method][..., chosen] - low) / (high - low)
        assert_seen(page, view, levels(share), 1)  # values are rounded by 0.06 of a level
    text = page.driver.find_element("class name", "seen").text
    assert "red 640 nm (band 5), green 520 nm (band 3), blue 460 nm (band 2)" in text
    assert page.by_id("overview").is_displayed()


def test_axes_have_wavelengths_and_plain_numbers(page):
    assert page.model("view_differences", "m.below[0].axis_label") == "wavelength (nm)"
    drawn = page.model("view_spectra", "Array.from(m.renderers[0].data_source.data.place)")
    np.testing.assert_allclose(drawn, np.linspace(400, 700, BANDS))
    for plot in ("view_spectra", "view_differences"):
        axes = page.model(plot, "[...m.below, ...m.left].map((a) => a.formatter.use_scientific)")
        assert axes == [False, False]
    assert page.model("colour_bar", "m.below.at(-1).formatter.use_scientific") is False


def test_the_slider_and_the_select_choose_what_is_shown(page, cubes):
    handle = page.within(".noUi-handle")
    band = BANDS // 2
    for keys, moved in (("\ue014\ue014", 2), ("\ue012", -1)):  # arrows right and left
        handle.send_keys(*keys)
        band += moved
        assert page.by_id("band").text == f"Band {band} ({340 + 60 * band} nm)"
        for view, name in (("left", "Bicubic"), ("right", "DualSR")):
            assert_seen(page, view, grey(cubes.results[name], cubes.reference, band - 1), 1)
    select = page.within("select")
    select.send_keys("Reference")
    assert_seen(page, "left", grey(cubes.reference, cubes.reference, band - 1), 1)
    select.send_keys("Bicubic")


def test_a_click_shows_spectra_and_angles(page, cubes):
    for view, pixel in ((None, FIRST), ("right", (3, 11)), ("CoarSR", (0, 0))):
        if view is not None:
            page.at(view, *pixel).click().perform()
        assert page.by_id("pixel").text == f"row {pixel[0]}, column {pixel[1]}"
        for name in ORDER:
            drawn = page.model(
                "view_spectra", f"Array.from(m.renderers[0].data_source.data.{name})"
            )
            cube = cubes.reference if name == "Reference" else cubes.results[name]
            np.testing.assert_allclose(drawn, cube[pixel], atol=HALF)
        for method in METHODS:
            expected = angles_deg(cubes.results[method], cubes.reference)[pixel]
            shown = float(page.by_id(f"angle-{method}").text[:-1])
            assert shown == pytest.approx(expected, abs=0.051)
    page.at("left", *FIRST).click().perform()


def test_the_swipe_shows_two_results(page):
    left, right = page.data("left"), page.data("right")
    columns = np.arange(WIDTH)[:, None]
    np.testing.assert_array_equal(page.data("swipe"), np.where(columns < WIDTH // 2, left, right))
    # In one go: between two, a busy machine may take so long that the drag becomes a long press.
    page.at("swipe", 2, WIDTH // 2).click_and_hold()
    page.at("swipe", 2, 3).release().perform()
    edge = page.model("view_swipe", "m.center.find((m) => m.type === 'Span').location")
    assert edge in (3, 4)  # its middle is between them
    np.testing.assert_array_equal(page.data("swipe"), np.where(columns < edge, left, right))
    np.testing.assert_array_equal(page.seen("swipe")[3, :2], page.seen("left")[3, :2])
    np.testing.assert_array_equal(page.seen("swipe")[3, 6:], page.seen("right")[3, 6:])


def test_errors_and_angles_have_the_colours_of_their_values(page, cubes):
    from bokeh.palettes import Viridis256

    palette = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in Viridis256])

    def assert_mapped(view, expected, high, atol):
        np.testing.assert_allclose(page.data(view), expected, atol=atol)
        under_mark = np.zeros((HEIGHT, WIDTH), bool)
        under_mark[FIRST] = True
        share, seen = page.data(view) / high * 256, page.seen(view)
        # A level may be rounded either way.
        either = [palette[np.floor(share + d).clip(0, 255).astype(int)] for d in (-0.01, 0.01)]
        off = np.minimum(*(np.abs(seen - colours).max(-1) for colours in either))
        assert off[~under_mark].max() <= 1

    limit = page.model("view_DualSR", "m.renderers[0].glyph.color_mapper.high")
    angles = {m: angles_deg(cubes.results[m], cubes.reference) for m in METHODS}
    assert limit == pytest.approx(np.percentile(angles["Bicubic"], 99), rel=0.06)
    for method in METHODS:
        assert_mapped(method, angles[method], limit, 0.051)
    page.button("Absolute error").click()
    page.leave()
    band = int(page.by_id("band").text.split()[1]) - 1
    assert page.by_id("bar-title").text.startswith("absolute error in band")
    field = page.within("input[type=text]")
    field.send_keys("\ue009a\ue000", "0.1", "\ue007")  # all of it is replaced, enter
    for method in METHODS:
        error = np.abs(cubes.results[method] - cubes.reference)[..., band]
        assert_mapped(method, error, 0.1, 2 * HALF)


def test_zooming_moves_all_views(page):
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    before = page.model("view_left", "[m.x_range.start, m.x_range.end, m.y_range.end]")
    assert before == [0, WIDTH, 0]
    seen = page.seen("right")
    origin = ScrollOrigin.from_element(page.by_id("view-left"))
    page.hands.scroll_from_origin(origin, 0, -200).perform()
    start, end, top = page.model("view_left", "[m.x_range.start, m.x_range.end, m.y_range.end]")
    assert 0 < start < WIDTH / 2 < end < WIDTH
    assert top > 0
    assert (page.seen("right") != seen).any()
    page.button("Show all").click()
    page.leave()
    np.testing.assert_array_equal(page.seen("right"), seen)


def test_the_tables_have_the_scores(page, built):
    results = json.loads((built / "results.json").read_text())
    tables = page.by_id("scores").find_elements("css selector", "table")
    records = {name: record["scores"] for name, record in results["images"].items()}
    records["mean"] = results["mean"]
    for table, (metric, digits) in zip(
        tables, (("psnr_db", 3), ("ssim", 4), ("sam_deg", 3)), strict=True
    ):
        rows = table.find_elements("css selector", "tbody tr")
        for row, (name, scores) in zip(rows, records.items(), strict=True):
            cells = [f"{scores[method][metric]:.{digits}f}" for method in METHODS]
            assert row.text.removeprefix(name).split() == cells
            if metric != "psnr_db":  # the last of the made-up figures is the best
                assert row.find_element("class name", "best").text == cells[2]


OVERLAPS = """
const seen = (e) => e.getBoundingClientRect().width > 1 && e.getBoundingClientRect().height > 1;
const all = [...document.querySelectorAll(
  "h1, h2, p, li, th, td, figcaption, #overview, #band, #bar-title, .pair > span, " +
  "[data-root-id] > *"
)].filter(seen);
const problems = [];
const name = (e) => `${e.tagName}.${e.className}#${e.id} ${e.textContent.slice(0, 30)}`;
for (const e of all) {
  const a = e.getBoundingClientRect();
  if (a.left < 0 || a.right > document.documentElement.clientWidth + 0.5) {
    problems.push(`${name(e)} leaves the page: ${a.left} to ${a.right}`);
  }
  if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && !e.dataset.rootId && !e.shadowRoot) {
    problems.push(`${name(e)} is cut off: ${e.scrollWidth} > ${e.clientWidth}`);
  }
  for (const f of all) {
    if (e === f || e.contains(f) || f.contains(e)) continue;
    const b = f.getBoundingClientRect();
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 1) problems.push(`${name(e)} and ${name(f)} overlap`);
  }
}
if (document.documentElement.scrollWidth > document.documentElement.clientWidth) {
  problems.push("the page scrolls sideways");
}
return [problems, all.length];
"""


@pytest.mark.parametrize("width", [500, 1400])
@pytest.mark.parametrize("name", ["a.html", "scene.html"])
def test_the_page_holds_together(chromium, built, width, name):
    chromium.set_window_size(width, 1000)
    try:
        page = Page(chromium, built / "report" / name)
        page.wait("return document.querySelector('#view-left').clientHeight > 90")
        problems, count = chromium.execute_script(OVERLAPS)
    finally:
        chromium.set_window_size(1400, 1000)
    assert count > 50
    assert problems == []


def test_the_page_of_a_scene_without_ground_truth(chromium, built, scene_cubes):
    lr, results = scene_cubes
    page = Page(chromium, built / "report" / "scene.html")
    assert "principal components" in chromium.find_element("class name", "seen").text
    size = page.model("view_left", "[m.x_range.end - m.x_range.start, m.y_range.start]")
    assert size[0] == pytest.approx(48 * 120 / 112)  # 48 of 112 rows, in the form of the view
    assert page.model("view_left", "m.y_range.end") <= 70 < 90 <= size[1]  # where the detail is
    page.button("Show all").click()
    assert page.model("view_left", "[m.x_range.start, m.y_range.start]") == [0, 112]
    reduced = {name: imresize(cube, 1 / 2) for name, cube in results.items()}
    good = [0, 1, 2, 4, 5]
    expected = angles_deg(reduced["DualSR"][..., good], lr[..., good])
    shown = page.data("DualSR")
    masked = np.isnan(shown)
    assert masked[0, 0]
    assert masked.sum() < 40
    np.testing.assert_allclose(shown[~masked], expected[~masked], atol=0.06)
    page.button("Absolute difference").click()
    band = int(page.by_id("band").text.split()[1]) - 1
    assert page.by_id("bar-title").text == f"absolute difference from the input in band {band + 1}"
    expected = np.abs(reduced["CoarSR"] - lr)[..., band]
    np.testing.assert_allclose(page.data("CoarSR")[~masked], expected[~masked], atol=2 * HALF)
    row, column = (int(n) for n in re.findall(r"\d+", page.by_id("pixel").text))
    drawn = page.model(
        "view_spectra", "m.renderers.map((r) => Array.from(r.data_source.data[r.name]))"
    )
    assert not masked[row // 2, column // 2]
    bicubic = imresize(np.nan_to_num(lr), 2)
    cubes = [lr.repeat(2, 0).repeat(2, 1), bicubic, *results.values()]
    for spectrum, cube in zip(drawn, cubes, strict=True):
        np.testing.assert_allclose(spectrum, cube[row, column, good], atol=HALF)
    assert "reduced to the size of the input" in chromium.find_element("tag name", "aside").text


def test_a_name_full_of_traps_becomes_no_element_and_its_link_finds_its_page(page):
    page.by_id("scores").find_element("link text", ODD).click()
    page.wait("return document.title.slice(0, 1) === 'b'")
    assert page.driver.title == f"{ODD}, super-resolved ×2"
    assert (
        page.driver.execute_script("return document.querySelector('i:not([style], #frame)')")
        is None
    )


def unpacked(embedding):
    """The layers of a text as whole numbers, read independently of the browser."""
    length, _, text = embedding.text.partition(":")
    alphabet = [chr(code) for code in range(33, 127) if chr(code) not in "&<\\"]
    digits = np.array([alphabet.index(character) for character in text])
    numbers = digits[::2] * 91 + digits[1::2]
    bits = "".join(f"{number:013b}" for number in numbers)
    count = int(length)
    packed = bytes(int(bits[8 * k : 8 * k + 8], 2) for k in range(count))
    planes = np.frombuffer(zlib.decompress(packed), np.uint8)
    low, high = planes.reshape(2, -1).astype(int)
    folded = low + 256 * high
    differences, found, first = np.where(folded % 2, -(folded + 1) // 2, folded // 2), {}, 0
    for layer in embedding.layers:
        last = first + int(np.prod(layer["shape"]))
        values = differences[first:last].reshape(layer["shape"])
        if layer["smooth"]:
            values = values.cumsum(1).cumsum(2)
        values = values.cumsum(0)
        base = 0 if layer["base"] is None else found[layer["base"]]
        found[layer["name"]] = (values + base + 2**15) % 2**16 - 2**15
        if layer["name"] == "LR":
            found["Bicubic"] = np.floor(resize.enlarge(1.0 * found["LR"], 2) / 8 + 0.5)
        first = last
    assert first == len(differences)
    return found


def test_the_text_of_cubes_can_be_read_again(rng):
    lr = rng.uniform(-0.2, 1.3, (4, 3, 5)).astype(np.float32)
    results = {name: rng.uniform(-0.2, 1.3, (8, 6, 5)).astype(np.float32) for name in ORDER[1:]}
    bicubic, reference = imresize(lr, 2), results.pop("Reference")
    cubes = PageCubes(
        scale=2, lr=lr, inset=(0, 0), bicubic=bicubic, results=results, reference=reference
    )
    angles = rng.uniform(0, 180, (3, 8, 6)).astype(np.float32)
    angles[:, 0, 0] = 180, 0, 180
    embedding = embed(cubes, angles, 1e9)
    found = unpacked(embedding)
    largest = max(np.abs(c).max() for c in (lr, bicubic, reference, *results.values()))
    assert embedding.step == pytest.approx(largest / 4095)
    worst = 0
    for name, cube in {"Bicubic": bicubic, **results, "Reference": reference}.items():
        error = np.abs(np.moveaxis(found[name], 0, -1) * embedding.step - cube).max()
        worst = max(worst, error)
    assert embedding.largest_error == pytest.approx(worst, abs=1e-6)
    # The LR cube is rounded 8 times finer, and bicubic weighs it with up to 1.4 in sum.
    assert worst <= (0.5 + 0.5 * 1.4 / 8) * embedding.step + 1e-6
    np.testing.assert_allclose(found["angles"] * 0.1, angles, atol=0.051)
    coarse = embed(cubes, angles, len(embedding.text) - 1)
    assert coarse.step == pytest.approx(largest / 2895)
    assert embed(cubes, angles, 0).step == pytest.approx(largest / 127)


def test_a_page_shows_less_of_a_scene_before_it_shows_it_coarsely(tmp_path, rng):
    lr = rng.random((60, 50, 6), np.float32)  # noise, which cannot be packed
    results = {name: rng.random((120, 100, 6), np.float32) for name in METHODS[1:]}
    scores = {name: {"psnr_db": 40.0, "sam_deg": 1.0} for name in METHODS}
    how = {"scores": scores, "max_mb": 0.85, "notes": ["3 <of> 7 values were clipped"]}
    write_scene_page(lr, results, 2, tmp_path / "page.html", **how)
    page = (tmp_path / "page.html").read_text()
    assert "3 &lt;of&gt; 7 values were clipped" in page
    assert len(page) < 0.85e6
    assert re.search(r"shown: rows \d+ to \d+, columns \d+ to \d+ of the input", page)
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    assert 16 <= facts["shape"][0] // 2 < 60
    step = next(layer["step"] for layer in facts["layers"] if layer["name"] == "DualSR")
    assert step < 1.5 / 1000  # bicubic overshoots 1 by less than a half


def test_a_page_has_10_mb_at_most():
    given = flags.FlagValues()
    define(report.FLAGS, given)
    given(["report"])
    sizes = inspect.signature(write_scene_page).parameters["max_mb"], PageOptions()
    assert given.max_mb == sizes[0].default == sizes[1].max_mb == 10


def test_names_become_file_names():
    assert file_name("chart_and-toy.2") == "chart_and-toy.2"
    assert file_name("a[:, 64:]").startswith("a_-_64-~")
    names = ["site 1", "site1", "a[", "a_", "../../x", "/etc/x", "..", ".x", "-x", "a/b", "a:b"]
    names += ["a\nb", "a\\b", "~", "\ud800", "a b"]
    names += ["", "\0", "a,b", "x" * 300, "x" * 301, "ä" * 150, file_name("site 1")]
    found = {file_name(name) for name in names}
    assert len(found) == len(names)
    for name in found:
        assert len(name.encode()) <= 200
        assert re.fullmatch(r"[\w~][\w.~-]*", name)


def test_pages_stay_in_their_folder(tmp_path):
    """Nothing of results.json is believed."""
    folder = make_evaluation(
        tmp_path / "deep" / "evaluation", ("../../../escaped", "site 1", "site1")
    )
    made = write_pages(str(folder))
    assert len(set(made)) == 3
    assert {path.parent for path in made} == {folder / "report"}
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_names_are_not_formulas(tmp_path, rng, suffix):
    name = r"site$1_{$2 \frac"
    cube = rng.random((5, 5, 5))
    pictures = {"Reference": cube[..., :3], name: cube[..., :3]}
    shown = {name: cube[..., :1]}
    band_figure(tmp_path / f"a{suffix}", cube[..., :1], shown, (1,), name, pictures=pictures)
    spectra_figure(tmp_path / f"b{suffix}", cube, {name: cube}, ((1, 1),), name)
    look, spectrum = Look(cube[..., :3], cube[..., :3]), cube[0, 0]
    spectra = [Spectra(0, 0, {name: spectrum})]
    report_figure(tmp_path / f"c{suffix}", {name: look}, spectra, spectrum, name, name)


def test_a_part_and_one_page(evaluation, tmp_path, capsys):
    options = PageOptions(title="A title", crop=(slice(2, 10), slice(None, 8)))
    path = tmp_path / "new" / "page.html"
    assert write_pages(tmp_path, scenes=["a"], output=path, options=options) == [path]
    page = path.read_text()
    assert "<title>A title</title>" in page
    assert "rows 2 to 9, columns 0 to 7 of 12 × 16 × 6" in page
    assert f"{path}: {path.stat().st_size / 1e6:.1f} MB" in capsys.readouterr().out
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{", "is not the result of an evaluation: Expecting property name"),
        (lambda r: "[]", "expected an object, got list"),
        (lambda r: "[" * 100_000, "is not the result of an evaluation: maximum recursion"),
        (lambda r: '{"mean": 1}', "images, protocol, scale is missing"),
        (lambda r: json.dumps(r | {"scale": "2"}), "the scale is '2'"),
        (lambda r: json.dumps(r | {"protocol": "x"}), "unknown protocol 'x'"),
        (lambda r: json.dumps(r | {"images": {}}), "there are no images"),
        (
            lambda r: json.dumps(r | {"images": {"a": {"gains": []}}}),
            "'a' has no number for psnr_db",
        ),
        (lambda r: json.dumps(r | {"mean": {"Bicubic": {}}}), "the mean has no number for psnr_db"),
    ],
)
def test_bad_results(evaluation, change, message):
    path = evaluation / "results.json"
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=message):
        read_evaluation(evaluation)


def test_bad_cubes(evaluation, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no evaluation in .*run python -m dualsr_jax\.eva"
    ):
        write_pages(tmp_path / "nothing")
    with np.load(evaluation / "a.npz") as archive:
        cubes = dict(archive)
    for name, cube, message in (
        ("lr", cubes["lr"][1:], r"expected lr to be finite float32 of shape \(6, 8, 6\), got"),
        ("DualSR", cubes["DualSR"] * np.nan, "expected DualSR to be finite"),
        (
            "CoarSR",
            cubes["CoarSR"] + 0.1,
            "does not belong to the evaluation in results.json: psnr_db of Coa",
        ),
    ):
        np.savez(evaluation / "a.npz", **(cubes | {name: cube}))
        with pytest.raises(ValueError, match=message):
            write_pages(evaluation, scenes=["a"])
    (evaluation / "a.npz").write_bytes((evaluation / "a.npz").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.npz.* damaged"):
        write_pages(evaluation, scenes=["a"])
    (evaluation / "a.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"no cubes of 'a' .*with --save_cubes"):
        write_pages(evaluation)
    assert not list((evaluation / "report").iterdir())


def test_bad_settings(evaluation, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the evaluation has no 'c', but a, b"):
        write_pages(evaluation, scenes=["a", "c"])
    with pytest.raises(ValueError, match="is one page, the evaluation has 2 scenes"):
        write_pages(evaluation, output=tmp_path / "page.html")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"the output '.*file/x' cannot be written"):
        write_pages(evaluation, output=tmp_path / "file" / "x")
    with pytest.raises(ValueError, match="--part holds no pixels of 'a', which has 12x16"):
        write_pages(evaluation, options=PageOptions(crop=(slice(20, 30), slice(None))))
    with pytest.raises(
        ValueError, match=r"would have \d.\d MB, more than 0\.5: .*--part=0:\d+,0:\d+,"
    ):
        write_pages(evaluation, options=PageOptions(max_mb=0.5))
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    with pytest.raises(ValueError, match=r"needs the package 'bokeh': pip install .*\[report\]"):
        write_pages(evaluation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one folder is needed"),
        (["x", "--part=1,2"], "--part=1,2: expected slices of rows and columns"),
        (["x", "--wavelengths=400"], "--wavelengths=400: expected those of the first and last"),
        (["x", "--wavelengths=nan,700"], "--wavelengths=nan,700: expected"),
        (["x"], "there is no evaluation in 'x'"),
    ],
)
def test_the_command(arguments, message):
    given = flags.FlagValues()
    define(report.FLAGS, given)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        report.main(given, given(["report", *arguments])[1:])
