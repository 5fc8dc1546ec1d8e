"use strict";
// A forecaster's page: a start is sent to /forecast as an array, and the members come back as one.

const by = (id) => document.getElementById(id);
const state = { about: null, history: null, forecast: null, top: 1, playing: null };
const NPY = "application/x-npy";

// Arrays in numpy's format: little-endian floats in C order.

function parsed(buffer) {
  const bytes = new Uint8Array(buffer), view = new DataView(buffer);
  if (bytes[0] !== 0x93 || String.fromCharCode(...bytes.slice(1, 6)) !== "NUMPY") throw new Error("expected an .npy file");
  const long = bytes[6] > 1, begin = long ? 12 : 10;
  const end = begin + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const head = new TextDecoder("latin1").decode(bytes.slice(begin, end));
  const type = /'descr':\s*'([^']+)'/.exec(head), shape = /'shape':\s*\(([^)]*)\)/.exec(head);
  if (!type || !shape || !["<f4", "<f8"].includes(type[1]) || /'fortran_order':\s*True/.test(head)) {
    throw new Error("expected float32 or float64 in C order");
  }
  const sizes = shape[1].split(",").map((s) => s.trim()).filter(Boolean).map(Number);
  const data = type[1] === "<f4" ? new Float32Array(buffer.slice(end)) : Float32Array.from(new Float64Array(buffer.slice(end)));
  if (data.length !== sizes.reduce((a, b) => a * b, 1)) throw new Error("the file is cut off");
  return { shape: sizes, data };
}

function written({ shape, data }) {
  const told = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const head = told.padEnd(Math.ceil((10 + told.length + 1) / 64) * 64 - 11) + "\n";
  const file = new Uint8Array(10 + head.length + 4 * data.length);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, head.length & 255, head.length >> 8]);
  file.set(new TextEncoder().encode(head), 10);
  file.set(new Uint8Array(data.buffer, data.byteOffset, 4 * data.length), 10 + head.length);
  return file;
}

async function ask(operation, body, type) {
  const reply = await fetch("/" + operation, { method: "POST", headers: { "Content-Type": type, Accept: NPY }, body });
  if (!reply.ok) throw new Error((await reply.json()).detail);
  return parsed(await reply.arrayBuffer());
}

function say(text, wrong = false) {
  by("message").textContent = text;
  by("message").classList.toggle("wrong", wrong);
}

const told = (v) => String(Number(v.toPrecision(4))).replace("-", "\u2212");
const withUnit = (unit) => unit && !["1", "unknown"].includes(unit) ? ` ${unit}` : "";

// Pictures

const RED_BLUE = [[24, 74, 140], [111, 168, 214], [244, 244, 244], [224, 128, 98], [148, 24, 38]];
const DARK_LIGHT = [[13, 8, 35], [96, 24, 104], [186, 55, 84], [244, 136, 73], [252, 246, 190]];

function colour(scale, share) {
  const place = Math.min(Math.max(share, 0), 1) * (scale.length - 1), low = Math.min(Math.floor(place), scale.length - 2);
  return scale[low].map((v, i) => v + (place - low) * (scale[low + 1][i] - v));
}

function paint(canvas, values, low, high, scale) {
  const grid = state.about.coordinates.map((c) => c.points), columns = values.columns ?? grid.at(-1);
  const rows = values.data.length / columns;
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  values.data.forEach((v, k) => {
    const row = rows - 1 - Math.floor(k / columns), at = 4 * (row * columns + k % columns); // y points upwards
    image.data.set([...colour(scale, (v - low) / (high - low || 1)), 255], at);
  });
  context.putImageData(image, 0, 0);
}

function framed(text) {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  const caption = document.createElement("figcaption");
  caption.textContent = text;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", text);
  figure.append(canvas, caption);
  return figure;
}

const part = (array, first, count) => array.data.subarray(first * count, (first + 1) * count);

function showPast() {
  const [frames, ...grid] = state.history.shape, size = grid.reduce((a, b) => a * b, 1);
  state.top = Math.max(...state.history.data.map(Math.abs)) || 1;
  by("past").replaceChildren(...Array.from({ length: frames }, (_, f) => {
    const back = (frames - 1 - f) * state.about.time_step;
    const figure = framed(back ? `${told(back)}${withUnit(state.about.time_unit)} before` : "the last frame");
    paint(figure.firstChild, { data: part(state.history, f, size), columns: grid.at(-1) }, -state.top, state.top, RED_BLUE);
    return figure;
  }));
}

function moments(lead) {
  const [members, steps, ...grid] = state.forecast.shape, size = grid.reduce((a, b) => a * b, 1);
  const mean = new Float32Array(size), spread = new Float32Array(size);
  for (let m = 0; m < members; m++) part(state.forecast, m * steps + lead, size).forEach((v, k) => { mean[k] += v / members; });
  for (let m = 0; m < members; m++) part(state.forecast, m * steps + lead, size).forEach((v, k) => { spread[k] += (v - mean[k]) ** 2; });
  return { mean, spread: spread.map((s) => Math.sqrt(s / Math.max(1, members - 1))) };
}

function showLead() {
  const [members, steps, ...grid] = state.forecast.shape, size = grid.reduce((a, b) => a * b, 1), columns = grid.at(-1);
  const lead = Number(by("lead").value) - 1, top = state.top;
  by("time").textContent = `${told((lead + 1) * state.about.time_step)}${withUnit(state.about.time_unit)}`;
  by("lead").setAttribute("aria-valuetext", by("time").textContent);
  const { mean, spread } = moments(lead);
  const canvases = by("frames").querySelectorAll("canvas");
  paint(canvases[0], { data: mean, columns }, -top, top, RED_BLUE);
  paint(canvases[1], { data: spread, columns }, 0, top / 2, DARK_LIGHT);
  for (let m = 0; m < members; m++) {
    paint(canvases[2 + m], { data: part(state.forecast, m * steps + lead, size), columns }, -top, top, RED_BLUE);
  }
}

function showSpread() {
  const steps = state.forecast.shape[1], step = state.about.time_step;
  const spreads = Array.from({ length: steps }, (_, lead) => {
    const { spread } = moments(lead);
    return Math.sqrt(spread.reduce((a, s) => a + s * s, 0) / spread.length);
  });
  const made = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  const W = 640, H = 260, L = 70, R = 16, T = 14, B = 50, high = Math.max(...spreads) * 1.08 || 1;
  const x = (lead) => L + (W - L - R) * lead / steps, y = (v) => H - B - (H - T - B) * v / high;
  const svg = made("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "spread of the members by time" });
  for (let k = 0; k <= 4; k++) {
    svg.append(made("line", { class: "axis", x1: L, x2: W - R, y1: y(high * k / 4), y2: y(high * k / 4) }));
    svg.append(made("text", { x: L - 8, y: y(high * k / 4) + 5, "text-anchor": "end" }, told(Number((high * k / 4).toPrecision(2)))));
  }
  for (let k = 0; k <= 4; k++) svg.append(made("text", { x: x(steps * k / 4), y: H - B + 22, "text-anchor": "middle" }, told(steps * k / 4 * step)));
  svg.append(made("text", { x: (L + W - R) / 2, y: H - 6, "text-anchor": "middle" }, `time since the last frame${withUnit(state.about.time_unit)}`));
  svg.append(made("path", { class: "curve", d: [0, ...spreads].map((v, k) => `${k ? "L" : "M"}${x(k)} ${y(v)}`).join(" ") }));
  by("plot").replaceChildren(svg);
}

// Questions

async function load() {
  stop();
  by("future").hidden = true;
  try {
    const file = by("file").files[0];
    state.history = file ? parsed(await file.arrayBuffer()) : await ask("start", JSON.stringify({ number: Number(by("start").value) }), "application/json");
    showPast();
    say("");
  } catch (problem) {
    say(problem.message, true);
  }
}

async function forecast(event) {
  event?.preventDefault();
  if (!state.history) return say("choose a file of frames first", true);
  stop();
  by("go").disabled = true;
  say("computing\u2026");
  try {
    const query = new URLSearchParams(["members", "steps", "seed"].map((name) => [name, by(name).value]));
    const begun = performance.now();
    state.forecast = await ask(`forecast?${query}`, written(state.history), NPY);
    const [members, steps] = state.forecast.shape;
    by("lead").max = steps;
    by("lead").value = 1;
    by("frames").replaceChildren(framed("mean of the members"), framed(`their spread, 0 to ${told(state.top / 2)}`),
      ...Array.from({ length: members }, (_, m) => framed(`member ${m + 1}`)));
    by("low").textContent = told(-state.top);
    by("high").textContent = told(state.top) + withUnit(state.about.values[0].unit);
    paint(by("scale"), { data: Float32Array.from({ length: 256 }, (_, k) => k), columns: 256 }, 0, 255, RED_BLUE);
    by("future").hidden = false;
    showLead();
    showSpread();
    say(`${members} members, ${steps} steps in ${told((performance.now() - begun) / 1000)} s`);
  } catch (problem) {
    say(problem.message, true);
  }
  by("go").disabled = false;
}

function stop() {
  clearInterval(state.playing);
  state.playing = null;
  by("play").textContent = "Play";
  by("play").setAttribute("aria-pressed", "false");
}

function play() {
  if (state.playing) return stop();
  by("play").textContent = "Stop";
  by("play").setAttribute("aria-pressed", "true");
  state.playing = setInterval(() => {
    const lead = by("lead");
    lead.value = Number(lead.value) % Number(lead.max) + 1;
    showLead();
  }, 350);
}

async function start() {
  state.about = await (await fetch("/describe")).json();
  const { title, values, coordinates, history, starts, limits, parameters, forecaster } = state.about;
  document.title = by("title").textContent = title;
  const grid = coordinates.map((c) => c.points).join(" x ");
  by("about").textContent = `${values[0].name} on ${grid} points from ${history} frame${history > 1 ? "s" : ""}; ${forecaster}`
    + (parameters ? `, ${parameters.toLocaleString("en")} numbers` : "");
  by("start").replaceChildren(...Array.from({ length: starts }, (_, k) => new Option(`${k + 1}`, k)));
  by("start-choice").hidden = starts === 0;
  by("members").max = limits.members;
  by("steps").max = limits.steps;
  by("start").addEventListener("change", () => { by("file").value = ""; load(); });
  by("file").addEventListener("change", load);
  by("ask").addEventListener("submit", forecast);
  by("lead").addEventListener("input", () => { stop(); showLead(); });
  by("play").addEventListener("click", play);
  if (starts) await load();
  else say("there are no frames to start from here: choose a file of them");
}

start().catch((problem) => say(problem.message, true));
