/* The page of a scene: unpacks Bokeh and the cubes, and shows what the controls choose.

   The figures are Bokeh's. `viewer.start` gets their data sources and other models, by name, when
   the document is ready; the other functions are called when something is moved or clicked.
   `embedding.py` made the text of the cubes; its steps are undone here in reverse. A cube is
   { values, shape: [bands, height, width], step }, whose values are whole numbers of steps. */
"use strict";

const viewer = (() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const { methods: METHODS, truth: TRUTH, times } = facts;
  const [height, width, bands] = facts.shape;
  const [row, column] = facts.pixel;
  const state = { band: facts.band - 1, divider: (facts.opening[0] + facts.opening[2]) / 2, row, column };
  const limits = { error: facts.error_limit, angle: facts.angle_limit };
  const cubes = {};
  let models, Colours, Numbers;
  let composites = {};

  /* Undoes `packing.pack`. */
  async function inflate(text) {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser is too old for this page: it needs Chrome or Edge 80, " +
        "Firefox 113 or Safari 16.4, or later");
    }
    const digits = new Uint8Array(128);
    for (let code = 33, digit = 0; code < 127; code++) {
      if (!"&<\\".includes(String.fromCharCode(code))) digits[code] = digit++;
    }
    const start = text.indexOf(":") + 1, bytes = new Uint8Array(parseInt(text, 10));
    for (let i = start, at = 0, bits = 0, count = 0; at < bytes.length; i += 2) {
      bits = (bits << 13) | (digits[text.charCodeAt(i)] * 91 + digits[text.charCodeAt(i + 1)]);
      for (count += 13; count >= 8 && at < bytes.length; ) bytes[at++] = bits >> (count -= 8);
      bits &= (1 << count) - 1;
    }
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /* Enlarges rows of whole or broken numbers as `ops.resize.enlarge` does, in the same order of
     operations: the results are the same to the last bit. */
  function enlargeRows(image, rows, columns) {
    const { taps, scale } = facts, reach = (taps[0].length - 1) / 2, period = 2 * columns;
    const out = new Float64Array(rows * columns * scale);
    const place = (i) => {
      const within = ((i % period) + period) % period;
      return within < columns ? within : period - 1 - within;
    };
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        for (let phase = 0; phase < scale; phase++) {
          let sum = 0;
          for (let k = 0; k <= 2 * reach; k++) {
            const weight = taps[phase][k];
            if (weight) sum += weight * image[y * columns + place(x + k - reach)];
          }
          out[(y * columns + x) * scale + phase] = sum;
        }
      }
    }
    return out;
  }

  function transposed(image, rows, columns) {
    const out = new Float64Array(image.length);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) out[x * rows + y] = image[y * columns + x];
    }
    return out;
  }

  /* The bicubic enlargement of the LR cube, cut to the pixels of the page. */
  function bicubic(lr, step) {
    const [, h, w] = lr.shape, s = facts.scale, [top, left] = facts.inset;
    const values = new Int16Array(bands * height * width);
    for (let b = 0; b < bands; b++) {
      const wide = transposed(enlargeRows(lr.values.subarray(b * h * w, (b + 1) * h * w), h, w), h, w * s);
      const turned = enlargeRows(wide, w * s, h);  // columns of the result, one after the other
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const sum = turned[(left + x) * h * s + top + y] / facts.finer;
          values[(b * height + y) * width + x] = Math.floor(sum + 0.5);
        }
      }
    }
    return { values, shape: [bands, height, width], step };
  }

  /* The pixels of the LR cube that are in the page. */
  function input(lr) {
    const [, h, w] = lr.shape, s = facts.scale, rows = height / s, columns = width / s;
    const [top, left] = facts.inset.map((length) => length / s);
    const values = new Int16Array(bands * rows * columns);
    for (let i = 0; i < values.length; i++) {
      const x = i % columns, y = Math.floor(i / columns) % rows, b = Math.floor(i / columns / rows);
      values[i] = lr.values[(b * h + top + y) * w + left + x];
    }
    return { values, shape: [bands, rows, columns], step: lr.step };
  }

  /* Fills `cubes` from their text. */
  async function unpack(text) {
    const planes = await inflate(text);
    const count = planes.length / 2;
    const all = new Int16Array(count);  // sums are modulo 2^16, as the differences are
    for (let i = 0; i < count; i++) {
      const folded = planes[i] | (planes[count + i] << 8);
      all[i] = (folded >>> 1) ^ -(folded & 1);
    }
    let first = 0;
    for (const { name, shape, step, base, smooth } of facts.layers) {
      const [, h, w] = shape, pixels = h * w, length = shape[0] * pixels;
      const out = all.subarray(first, first + length);
      first += length;
      if (smooth) {
        for (let i = 0; i < length; i++) if (i % w) out[i] += out[i - 1];
        for (let i = 0; i < length; i++) if (i % pixels >= w) out[i] += out[i - w];
      }
      for (let i = pixels; i < length; i++) out[i] += out[i - pixels];
      if (base !== null) {
        const before = cubes[base].values;
        for (let i = 0; i < length; i++) out[i] += before[i];
      }
      cubes[name] = { values: out, shape, step };
      if (name === "LR") cubes.Bicubic = bicubic(cubes.LR, step * facts.finer);
    }
    if (times > 1) cubes[TRUTH] = input(cubes.LR);
  }

  /* A band of a cube as whole numbers of its steps. */
  function plane({ values, shape: [, h, w] }, band) {
    return values.subarray(band * h * w, (band + 1) * h * w);
  }

  const compared = (method) => cubes[`reduced ${method}`] ?? cubes[method];

  /* Where a pixel of the page lies in a cube, whose pixels may be `times` larger. */
  function placeIn({ shape: [, , w] }, y, x) {
    const larger = width / w;
    return Math.floor(y / larger) * w + Math.floor(x / larger);
  }

  function spectrum(cube, y, x) {
    const place = placeIn(cube, y, x);
    return Float64Array.from({ length: bands }, (_, b) => plane(cube, b)[place] * cube.step);
  }

  const byId = (id) => document.getElementById(id);
  const kind = () => (models.kind.active === 1 ? "angle" : "error");
  const level = (share) => Math.max(0, Math.min(255, Math.floor(share * 256)));

  /* The colours of a cube on the pixels of the page, from 0 to 255, opaque where it has values. */
  function picture(name) {
    const composite = models.mode.active === 0;
    if (composite && composites[name]) return composites[name];
    const cube = cubes[name], [, h, w] = cube.shape, own = new Uint32Array(h * w);
    if (composite) {
      const { bands: chosen, weights, low, high } = facts.composite;
      weights.forEach((row, channel) => {
        const sums = new Float64Array(h * w);
        chosen.forEach((band, k) => {
          const weight = row[k] * cube.step, values = plane(cube, band);
          if (weight) for (let i = 0; i < sums.length; i++) sums[i] += weight * values[i];
        });
        const span = high[channel] - low[channel];
        for (let i = 0; i < own.length; i++) {
          own[i] |= level((sums[i] - low[channel]) / span) << (8 * channel);
        }
      });
    } else {
      const [low, high] = facts.contrast[state.band];
      plane(cube, state.band).forEach((value, i) => {
        own[i] = level((value * cube.step - low) / (high - low)) * 0x010101;
      });
    }
    const mask = cubes.mask?.values;
    const colours = new Uint32Array(height * width);
    for (let i = 0; i < colours.length; i++) {
      const place = w === width ? i : placeIn(cube, Math.floor(i / width), i % width);
      colours[i] = mask?.[i] ? 0 : (own[place] | 0xff000000) >>> 0;
    }
    if (composite) composites[name] = colours;
    return colours;
  }

  function paint(view, colours) {
    models[view].data = { image: [new Colours(colours, [height, width])] };
  }

  function showSwipe() {
    const left = picture(models.left_choice.value), right = picture(models.right_choice.value);
    const edge = Math.round(state.divider);
    paint("swipe", left.map((colour, i) => (i % width < edge ? colour : right[i])));
    models.divider.location = edge;
  }

  function showImages() {
    paint("left", picture(models.left_choice.value));
    paint("right", picture(models.right_choice.value));
    showSwipe();
    byId("swipe-left").textContent = models.left_choice.value;
    byId("swipe-right").textContent = models.right_choice.value;
    const name = bandName();
    byId("band").textContent = name[0].toUpperCase() + name.slice(1);
  }

  function errorMap(method) {
    const truth = cubes[TRUTH], cube = compared(method), mask = cubes["mask of the truth"]?.values;
    const here = plane(truth, state.band), made = plane(cube, state.band);
    const angles = plane(cubes.angles, METHODS.indexOf(method));
    const value = kind() === "angle" ? (i) => angles[i] * cubes.angles.step
      : (i) => Math.abs(made[i] * cube.step - here[i] * truth.step);
    return Float32Array.from(here, (_, i) => (mask?.[i] ? NaN : value(i)));
  }

  function showErrors() {
    const angles = kind() === "angle", [, h, w] = cubes[TRUTH].shape;
    models.limit.setv({ value: limits[kind()], step: angles ? 0.5 : 0.005 });
    models.colours.high = limits[kind()];
    const what = times > 1 ? "difference from the input" : "error";
    byId("bar-title").textContent = angles ? `spectral angle to the ${TRUTH.toLowerCase()} (degrees)`
      : `absolute ${what} in ${bandName()}`;
    for (const method of METHODS) models[method].data = { image: [new Numbers(errorMap(method), [h, w])] };
  }

  function bandName() {
    const place = facts.unit ? ` (${Math.round(facts.places[state.band])} ${facts.unit})` : "";
    return `band ${facts.numbers[state.band]}${place}`;
  }

  function showPixel() {
    const { row, column } = state, spectra = { place: facts.places };
    for (const name of [TRUTH, ...METHODS]) spectra[name] = spectrum(cubes[name], row, column);
    const place = placeIn(cubes[TRUTH], row, column);
    for (const method of METHODS) {
      const own = spectrum(compared(method), row, column);
      spectra[`less_${method}`] = own.map((value, b) => value - spectra[TRUTH][b]);
      const hidden = cubes["mask of the truth"]?.values[place];
      const angle = plane(cubes.angles, METHODS.indexOf(method))[place] * cubes.angles.step;
      const error = Math.abs(spectra[`less_${method}`][state.band]);
      byId(`angle-${method}`).textContent = hidden ? "–" : `${angle.toFixed(1)}°`;
      byId(`error-${method}`).textContent = hidden ? "–" : error.toFixed(4);
    }
    models.spectra.data = spectra;
    models.pixel.data = { x: [column + 0.5], y: [row + 0.5] };
    byId("pixel").textContent =
      `row ${row + facts.offset[0]}, column ${column + facts.offset[1]}${times > 1 ? " of the result" : ""}`;
    byId("error-title").textContent =
      `${times > 1 ? "difference" : "error"} in band ${facts.numbers[state.band]}`;
    models.band_line.location = facts.places[state.band];
  }

  /* Places the frame of the views in the small picture of the whole scene. */
  function frame() {
    const box = byId("overview").getBoundingClientRect(), { style } = byId("frame");
    const { x_range: x, y_range: y } = models;
    const share = (at, first, whole) => Math.max(0, Math.min(1, (at + first) / whole));
    const [rows, columns] = facts.whole, [top, left] = facts.offset;
    style.left = `${share(x.start, left, columns) * box.width}px`;
    style.top = `${share(y.end, top, rows) * box.height}px`;
    style.width = `${(share(x.end, left, columns) - share(x.start, left, columns)) * box.width}px`;
    style.height = `${(share(y.start, top, rows) - share(y.end, top, rows)) * box.height}px`;
  }

  function show(left, top, right, bottom) {
    models.x_range.setv({ start: left, end: right });
    models.y_range.setv({ start: bottom, end: top });
  }

  /* Moves the views to the place of the small picture that was clicked. */
  function visit(event) {
    const box = byId("overview").getBoundingClientRect(), { x_range: x, y_range: y } = models;
    const within = (share, whole, first, length, half) =>
      Math.max(Math.min(share * whole - first, length - half), half);
    const wide = (x.end - x.start) / 2, high = (y.start - y.end) / 2;
    const across = within((event.clientX - box.left) / box.width, facts.whole[1],
      facts.offset[1], width, Math.min(wide, width / 2));
    const down = within((event.clientY - box.top) / box.height, facts.whole[0],
      facts.offset[0], height, Math.min(high, height / 2));
    show(across - wide, down - high, across + wide, down + high);
  }

  function run(code) {
    document.head.append(Object.assign(document.createElement("script"), { textContent: code }));
  }

  /* Runs Bokeh's own scripts, then those that make the figures; they call `start`. */
  async function begin() {
    run(new TextDecoder().decode(await inflate(byId("bokeh").textContent)));
    byId("bokeh").remove();
    for (const { textContent } of document.querySelectorAll("script.later")) run(textContent);
  }

  async function start(given) {
    models = given;
    Colours = models.left.data.image[0].constructor;  // Bokeh's arrays of 32-bit numbers
    Numbers = models[METHODS[0]].data.image[0].constructor;
    await unpack(byId("cubes").textContent);
    byId("cubes").remove();
    showImages();
    showErrors();
    showPixel();
    frame();
    byId("overview").addEventListener("click", visit);
    window.addEventListener("resize", frame);
    document.body.dataset.state = "ready";
  }

  const reported = (promise) => promise.catch((error) => {
    byId("message").textContent = `The cubes cannot be shown: ${error.message}`;
    throw error;
  });

  return {
    begin: () => reported(begin()),
    start: (given) => reported(start(given)),
    band: (number) => {
      state.band = number - 1;
      models.mode.active = 1;  // a band was asked for
      showImages();
      showErrors();
      showPixel();
    },
    mode: showImages,
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
    frame,
    show,
  };
})();

viewer.begin();
