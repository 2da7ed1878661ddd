/* The page of a scene: unpacks the cubes, and shows what the controls choose.

   The figures are Bokeh's. `viewer.start` gets their data sources and other models, by name, when
   the document is ready; the other functions are called when something is moved or clicked.
   `embedding.py` made the text of the cubes; its steps are undone here in reverse. */
"use strict";

const viewer = (() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const METHODS = facts.methods;
  const ORDER = [...METHODS, "Reference"];
  const [height, width, bands] = facts.shape;
  const pixels = height * width;
  const [row, column] = facts.pixel;
  const state = { band: facts.band - 1, divider: width / 2, row, column };
  const limits = { error: facts.error_limit, angle: facts.angle_limit };
  let models, values, Image;

  async function inflate(text) {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser is too old for this page: it needs Chrome or Edge 80, " +
        "Firefox 113 or Safari 16.4, or later");
    }
    const packed = atob(text);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /* The cubes [ORDER.length, bands, height, width], then the angles [METHODS.length, height,
     width], as integers. */
  async function unpack(text) {
    const planes = await inflate(text);
    const count = planes.length / 2, cube = bands * pixels, cubes = ORDER.length * cube;
    const out = new Int16Array(count);  // sums are modulo 2^16, as the differences are
    for (let i = 0; i < count; i++) {
      const folded = planes[i] | (planes[count + i] << 8);
      out[i] = (folded >>> 1) ^ -(folded & 1);
    }
    for (let i = 0; i < cube; i++) if (i % width) out[i] += out[i - 1];
    for (let i = 0; i < cube; i++) if (i % pixels >= width) out[i] += out[i - width];
    for (let first = 0; first < cubes; first += cube) {
      for (let i = first + pixels; i < first + cube; i++) out[i] += out[i - pixels];
    }
    for (let i = cube; i < cubes; i++) out[i] += out[i - cube];
    for (let i = cubes + pixels; i < count; i++) out[i] += out[i - pixels];
    return out;
  }

  /* A band of a cube, [height * width] integers. */
  function plane(name, band) {
    const first = (ORDER.indexOf(name) * bands + band) * pixels;
    return values.subarray(first, first + pixels);
  }

  function angle(method, pixel) {
    return values[(ORDER.length * bands + METHODS.indexOf(method)) * pixels + pixel] / facts.angle_levels;
  }

  function spectrum(name, pixel) {
    return Float64Array.from({ length: bands }, (_, b) => plane(name, b)[pixel] / facts.levels);
  }

  function draw(name, image) {
    models[name].data = { image: [new Image(image, [height, width])] };
  }

  function bandImage(name) {
    return Float32Array.from(plane(name, state.band), (value) => value / facts.levels);
  }

  function errorMap(method) {
    if (kind() === "angle") return Float32Array.from({ length: pixels }, (_, i) => angle(method, i));
    const result = plane(method, state.band), reference = plane("Reference", state.band);
    return Float32Array.from(result, (value, i) => Math.abs(value - reference[i]) / facts.levels);
  }

  const kind = () => (models.kind.active === 1 ? "angle" : "error");
  const byId = (id) => document.getElementById(id);

  function showSwipe() {
    const left = plane(models.left_choice.value, state.band);
    const right = plane(models.right_choice.value, state.band);
    const edge = Math.round(state.divider);
    draw("swipe", Float32Array.from(
      left, (value, i) => (i % width < edge ? value : right[i]) / facts.levels));
    models.divider.location = edge;
  }

  function showImages() {
    const [low, high] = facts.contrast[state.band];
    models.grey.setv({ low, high });
    draw("left", bandImage(models.left_choice.value));
    draw("right", bandImage(models.right_choice.value));
    showSwipe();
    byId("swipe-left").textContent = models.left_choice.value;
    byId("swipe-right").textContent = models.right_choice.value;
  }

  function showErrors() {
    const angles = kind() === "angle";
    models.limit.setv({ value: limits[kind()], step: angles ? 0.5 : 0.005 });
    models.colours.high = limits[kind()];
    models.bar.title = angles ? "spectral angle to the reference (degrees)"
      : `absolute error in ${bandName()}`;
    for (const method of METHODS) draw(method, errorMap(method));
  }

  function bandName() {
    const place = facts.unit ? ` (${Math.round(facts.places[state.band])} ${facts.unit})` : "";
    return `band ${state.band + 1}${place}`;
  }

  function showPixel() {
    const { row, column } = state, pixel = row * width + column;
    const spectra = { place: facts.places };
    for (const name of ORDER) spectra[name] = spectrum(name, pixel);
    for (const name of METHODS) {
      spectra[`less_${name}`] = spectra[name].map((value, b) => value - spectra.Reference[b]);
    }
    models.spectra.data = spectra;
    models.pixel.data = { x: [column + 0.5], y: [row + 0.5] };
    byId("pixel").textContent =
      `row ${row + facts.offset[0]}, column ${column + facts.offset[1]}`;
    const here = plane("Reference", state.band)[pixel];
    for (const method of METHODS) {
      const error = Math.abs(plane(method, state.band)[pixel] - here) / facts.levels;
      byId(`angle-${method}`).textContent = `${angle(method, pixel).toFixed(2)}°`;
      byId(`error-${method}`).textContent = error.toFixed(4);
    }
    models.band_line.location = facts.places[state.band];
  }

  function showBand() {
    const name = bandName();
    byId("band").textContent = name[0].toUpperCase() + name.slice(1);
    showImages();
    showErrors();
    showPixel();
  }

  async function start(given) {
    models = given;
    Image = models.left.data.image[0].constructor;  // Bokeh's array of 32-bit numbers
    values = await unpack(byId("cubes").textContent);
    byId("cubes").remove();
    showBand();
    document.body.dataset.state = "ready";
  }

  return {
    start: (given) => start(given).catch((error) => {
      byId("message").textContent = `The cubes cannot be shown: ${error.message}`;
      throw error;
    }),
    band: (number) => { state.band = number - 1; showBand(); },
    choose: showImages,
    swipe: (x) => {
      state.divider = Math.min(Math.max(x, 0), width);
      showSwipe();
    },
    kind: showErrors,
    limit: (value) => {
      if (!(value > 0)) return;  // the field may be empty while it is edited
      limits[kind()] = value;
      models.colours.high = value;
    },
    pick: (x, y) => {
      if (x < 0 || y < 0 || x >= width || y >= height) return;
      state.row = Math.floor(y);
      state.column = Math.floor(x);
      showPixel();
    },
    reset: () => {
      models.x_range.reset();
      models.y_range.reset();
    },
  };
})();
