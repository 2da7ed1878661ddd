"""The figures and controls of a page, as Bokeh models.

Contract: `build` makes the models and connects them to the functions of `viewer.js` by name. It
needs the facts about a scene, but not its cubes. Bokeh is imported when a page is made, because it
comes with the extra `report`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dualsr_jax.evaluation.results import BICUBIC, DUALSR
from dualsr_jax.extras import optional

_INK, _AXIS = "#1d2430", "#98a2b3"
# Of Okabe and Ito, for all kinds of colour vision.
_COLOURS = {BICUBIC: "#e69f00", DUALSR: "#d55e00"}
_NETWORK_COLOUR = "#0072b2"
_LESS = "less_"  # prefix of columns with differences to the truth
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
_MARK = "#ff3b81"  # visible on grey and on viridis
_PLAIN: Any = {
    "toolbar_location": None,
    "sizing_mode": "stretch_width",
    "outline_line_color": None,
}
_TALLEST, _WIDEST = 0.8, 2.0  # width over height of a view


def colours(truth: str, methods: Sequence[str]) -> dict[str, str]:
    """The colours of the truth and of the methods, by name."""
    return {truth: _INK, **{name: _COLOURS.get(name, _NETWORK_COLOUR) for name in methods}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What the figures and `viewer.js` know about a scene, besides its cubes."""

    truth: str  # what results are compared with: "Reference", or "Input" after a reduction
    methods: Sequence[str]
    shape: tuple[int, int, int]  # H, W, L of the results in the page
    times: int  # pixels of a result along a side of a pixel of the truth
    whole: tuple[int, int]  # rows and columns of a whole result
    offset: tuple[int, int]  # row and column, in the whole result, of the first pixel of the page
    numbers: Sequence[int]  # of the bands, counted from 1 in the cube
    places: Sequence[float]  # of the bands on the axis of spectra
    unit: str | None  # of the places; None: they are numbers of bands
    contrast: Sequence[tuple[float, float]]  # for each band, the values shown black and white
    composite: dict[str, Any]  # `bands` of the page, their `weights`, `low` and `high`
    opening: tuple[int, int, int, int]  # left, top, right and bottom pixel that are shown first
    band: int  # shown first, counted from 1 in the page
    pixel: tuple[int, int]  # row and column of the pixel whose spectra are shown first
    error_limit: float  # end of the colour scale of absolute errors
    angle_limit: float  # end of the colour scale of spectral angles, in degrees
    scale: int
    taps: Sequence[Sequence[float]]  # weights with which bicubic enlarges a line of pixels
    inset: tuple[int, int]  # rows and columns of an enlarged LR cube before those of the page
    finer: int  # steps of the LR cube in one of the other cubes
    layers: Sequence[dict[str, Any]]  # of the text of the cubes


class _Page:
    """Makes the Bokeh models of a page; `named` holds those that `viewer.js` uses."""

    def __init__(self, facts: Facts) -> None:
        self.models = optional("bokeh.models", "report")
        self.plotting = optional("bokeh.plotting", "report")
        self.facts, self.colours = facts, colours(facts.truth, facts.methods)
        self.height, self.width, _ = facts.shape
        self.aspect = min(max(self.width / self.height, _TALLEST), _WIDEST)
        left, top, right, bottom = self.within(*facts.opening)
        # Rows are counted downwards.
        self.named: dict[str, Any] = {
            "x_range": self.models.Range1d(left, right, min_interval=4),
            "y_range": self.models.Range1d(bottom, top, min_interval=4),
            "pixel": self.models.ColumnDataSource({"x": [0], "y": [0]}),
        }
        for axis in ("x_range", "y_range"):
            for end in ("start", "end"):
                self.named[axis].js_on_change(end, self.on("frame()"))
        self.roots: list[Any] = []
        lines = [
            self.models.Span(dimension=d, line_color="#ffffff", line_alpha=0.55, line_width=1)
            for d in ("width", "height")
        ]
        self.cross = self.models.CrosshairTool(overlay=lines)

    def within(self, left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        """The smallest window with square pixels, in the form of a view, around a rectangle."""
        rows = max(bottom - top, (right - left) / self.aspect)
        columns = rows * self.aspect
        x, y = (left + right - columns) / 2, (top + bottom - rows) / 2
        x, y = (  # within the image where it is large enough
            max(min(at, whole - length), 0) if length <= whole else at
            for at, length, whole in ((x, columns, self.width), (y, rows, self.height))
        )
        return x, y, x + columns, y + rows

    def on(self, code: str) -> Any:
        """Makes a callback of code of `viewer.js`."""
        return self.models.CustomJS(code=f"viewer.{code}")

    def add(self, name: str, model: Any) -> Any:
        """Adds a Bokeh model to the page; the template places it by its name."""
        model.name = name
        self.roots.append(model)
        return model

    def image(self, name: str, root: str, mapper: Any = None, *, pans: bool = True) -> Any:
        """Adds a view of numbers with a mapper, or of colours; all views move and zoom together."""
        # Only the type and the number of axes of the array count: viewer.js replaces it.
        dtype = np.uint32 if mapper is None else np.float32
        source = self.models.ColumnDataSource({"image": [np.zeros((1, 1), dtype)]})
        self.named[name] = source
        wheel = self.models.WheelZoomTool()
        tools = [self.models.PanTool()] if pans else []
        figure = self.plotting.figure(
            x_range=self.named["x_range"],
            y_range=self.named["y_range"],
            tools=[*tools, wheel, self.cross],
            aspect_ratio=self.aspect,
            min_border=0,
            margin=0,
            background_fill_color="#e9edf2",
            **_PLAIN,
        )
        figure.toolbar.active_scroll = wheel
        figure.axis.visible = False
        figure.grid.visible = False
        place = {"source": source, "x": 0, "y": 0, "dw": self.width, "dh": self.height}
        if mapper is None:
            figure.image_rgba("image", **place)
        else:
            figure.image("image", color_mapper=mapper, **place)
        mark = {"x": "x", "y": "y", "source": self.named["pixel"], "fill_color": None, "size": 13}
        figure.scatter(**mark, line_color="#ffffff", line_width=4, line_alpha=0.8)
        figure.scatter(**mark, line_color=_MARK, line_width=2)
        figure.js_on_event("tap", self.on("pick(cb_obj.x, cb_obj.y)"))
        return self.add(root, figure)

    def views(self) -> None:
        """Adds the images, the swipe view and the error maps."""
        models = self.models
        colours = models.LinearColorMapper(
            palette="Viridis256", low=0, high=self.facts.angle_limit, nan_color="#e9edf2"
        )
        self.image("left", "view_left")
        self.image("right", "view_right")
        swipe = self.image("swipe", "view_swipe", pans=False)
        divider = models.Span(
            location=(self.facts.opening[0] + self.facts.opening[2]) / 2,
            dimension="height",
            line_color="#ffffff",
            line_width=2,
        )
        swipe.add_layout(divider)
        for event in ("panstart", "pan", "panend"):  # a quick move has no "pan"
            swipe.js_on_event(event, self.on("swipe(cb_obj.x)"))
        for method in self.facts.methods:
            self.image(method, f"view_{method}", colours)
        self.named.update(colours=colours, divider=divider)

    def colour_bar(self) -> None:
        """Adds the colour scale of all error maps."""
        bar = self.models.ColorBar(
            color_mapper=self.named["colours"],
            orientation="horizontal",
            height=10,
            padding=2,
            background_fill_color=None,
            major_tick_line_color=None,
            formatter=self.plain_numbers(),
            major_label_text_font=_FONT,
        )
        frame = self.plotting.figure(
            height=36, tools="", min_border=0, x_range=(0, 1), y_range=(0, 1), **_PLAIN
        )
        frame.scatter([], [])  # Bokeh warns about empty figures
        frame.axis.visible = False
        frame.grid.visible = False
        frame.add_layout(bar, "below")
        self.add("colour_bar", frame)

    def plain_numbers(self) -> Any:
        """A formatter of ticks that never writes powers of ten."""
        return self.models.BasicTickFormatter(use_scientific=False)

    def plot(self, root: str, names: Sequence[str], label: str, **settings: Any) -> Any:
        """Adds a plot of columns of the spectra over the bands, in the colours of the methods."""
        figure = self.plotting.figure(
            tools="",
            y_axis_label=label,
            min_border_left=70,  # the same in both plots, so that bands are aligned
            **_PLAIN,
            **settings,
        )
        for name in names:
            figure.line(
                "place",
                name,
                source=self.named["spectra"],
                color=self.colours[name.removeprefix(_LESS)],
                line_width=3 if name == self.facts.truth else 1.8,
                name=name,
            )
        figure.add_layout(self.named["band_line"])
        for axis in figure.axis:
            axis.axis_label_text_font = axis.major_label_text_font = _FONT
            axis.axis_label_text_font_style = "normal"
            axis.axis_line_color = axis.major_tick_line_color = _AXIS
            axis.minor_tick_line_color = None
            axis.formatter = self.plain_numbers()
            axis.axis_label_text_font_size = "12.5px"
        figure.yaxis.ticker.desired_num_ticks = 5
        figure.grid.grid_line_color = "#eef1f5"
        return self.add(root, figure)

    def spectra(self) -> None:
        """Adds the plots of spectra and of their differences to the truth."""
        models, places = self.models, self.facts.places
        label = "band" if self.facts.unit is None else f"wavelength ({self.facts.unit})"
        differences = [_LESS + method for method in self.facts.methods]
        columns = dict.fromkeys(("place", *self.colours, *differences), places)
        self.named["spectra"] = models.ColumnDataSource(columns)
        self.named["band_line"] = models.Span(
            location=places[0], dimension="height", line_color=_AXIS, line_dash="dashed"
        )
        above = self.plot("view_spectra", list(self.colours), "intensity", height=260)
        below = self.plot(
            "view_differences",
            differences,
            "result - reference" if self.facts.times == 1 else "result reduced - input",
            height=190,
            x_axis_label=label,
            x_range=above.x_range,
        )
        for figure in (above, below):
            tooltips = [(label, "@place{0.[0]}")]
            for line in figure.renderers:
                tooltips.append((line.name.removeprefix(_LESS), f"@{{{line.name}}}{{0.0000}}"))
            figure.add_tools(
                models.HoverTool(renderers=figure.renderers[:1], mode="vline", tooltips=tooltips)
            )

    def controls(self) -> None:
        """Adds the slider of bands, the selectors, the limit of errors and the reset button."""
        models, facts = self.models, self.facts
        slider = models.Slider(
            start=1, end=facts.shape[2], value=facts.band, step=1, show_value=False, title=None
        )
        slider.sizing_mode, slider.bar_color = "stretch_width", "#0b6bcb"
        slider.js_on_change("value", self.on("band(cb_obj.value)"))
        for name, chosen in (("left_choice", BICUBIC), ("right_choice", facts.methods[-1])):
            select = models.Select(options=list(self.colours), value=chosen, width=130, margin=0)
            select.js_on_change("value", self.on("choose()"))
            self.named[name] = self.add(name, select)
        mode = models.RadioButtonGroup(labels=["Composite", "Single band"], active=0)
        mode.js_on_change("active", self.on("mode()"))
        error = "Absolute error" if facts.times == 1 else "Absolute difference"
        kind = models.RadioButtonGroup(labels=[error, "Spectral angle"], active=1)
        kind.js_on_change("active", self.on("kind()"))
        spinner = models.Spinner(low=0, value=facts.angle_limit, step=0.5, width=90)
        spinner.js_on_change("value", self.on("limit(cb_obj.value)"))
        views = {"opening": facts.opening, "all": (0, 0, self.width, self.height)}
        for name, label in (("all", "Show all"), ("opening", "First view")):
            left, top, right, bottom = self.within(*views[name])
            button = models.Button(label=label, width=96, margin=(0, 3))
            button.js_on_event("button_click", self.on(f"show({left}, {top}, {right}, {bottom})"))
            self.add(f"show_{name}", button)
        self.named["slider"] = self.add("band", slider)
        self.named["mode"] = self.add("mode", mode)
        self.named["kind"] = self.add("kind", kind)
        self.named["limit"] = self.add("limit", spinner)


def build(facts: Facts) -> Any:
    """Makes the Bokeh document of a page; raises ValueError if Bokeh is not installed."""
    page = _Page(facts)
    page.views()
    page.colour_bar()
    page.spectra()
    page.controls()
    document = optional("bokeh.document", "report").Document()
    for root in page.roots:
        document.add_root(root)
    code = f"viewer.start({{{', '.join(page.named)}}})"
    document.js_on_event("document_ready", page.models.CustomJS(args=page.named, code=code))
    return document
