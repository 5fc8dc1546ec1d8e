"use strict";
// A surrogate's page: sliders move the coordinates, every move asks /evaluate for the value and for a curve along one.

const POINTS = 81; // of the curve
const by = (id) => document.getElementById(id);
const state = { about: null, place: [], along: 0, output: 0, target: null, asking: false, again: false };

function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function drawn(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function told(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  const text = size >= 1e5 || size < 1e-3 ? number.toExponential(4) : number.toPrecision(6);
  return text.replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1").replace("-", "\u2212");
}

async function ask(operation, request) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) };
  const reply = await fetch("/" + operation, options);
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.detail);
  return answer;
}

function say(id, text, wrong = false) {
  by(id).textContent = text;
  by(id).classList.toggle("wrong", wrong);
}

// Coordinates

function labelled(coordinate) {
  return coordinate.unit && coordinate.unit !== "1" ? `${coordinate.name} [${coordinate.unit}]` : coordinate.name;
}

function coordinateRow(coordinate, j) {
  const name = made("label", { class: "name", for: `slider${j}` }, labelled(coordinate));
  const number = made("input", {
    type: "number", id: `number${j}`, step: "any", "aria-label": `${coordinate.name}, as a number`, hidden: coordinate.categories !== null,
  });
  const along = made("label", { class: "small" },
    made("input", { type: "radio", name: "along", value: j, checked: j === state.along }), "draw along");
  const hold = made("label", { class: "small" }, made("input", { type: "checkbox", id: `hold${j}` }), "hold");
  const slope = made("span", { class: "soft", id: `slope${j}` });
  let slider;
  if (coordinate.categories) {
    slider = made("select", { id: `slider${j}` }, ...coordinate.categories.map((c, k) => made("option", { value: k }, c)));
  } else {
    slider = made("input", { type: "range", id: `slider${j}`, min: 0, max: 1000, step: 1 });
  }
  const move = (value) => { state.place[j] = value; show(j); changed(); };
  slider.addEventListener("input", () => move(coordinate.categories ? Number(slider.value) : fromSlider(coordinate, slider.value)));
  number.addEventListener("change", () => { if (number.value !== "" && Number.isFinite(Number(number.value))) move(Number(number.value)); });
  along.firstChild.addEventListener("change", () => { state.along = j; changed(); });
  return made("div", { class: "coordinate" }, made("div", { class: "row" }, name, number), slider, made("div", { class: "row" }, along, hold, slope));
}

const fromSlider = (c, step) => c.lower + (c.upper - c.lower) * Number(step) / 1000;

function show(j) {
  const c = state.about.coordinates[j];
  by(`slider${j}`).value = c.categories ? state.place[j] : Math.round(1000 * (state.place[j] - c.lower) / (c.upper - c.lower || 1));
  if (!c.categories) by(`slider${j}`).setAttribute("aria-valuetext", told(state.place[j]));
  by(`number${j}`).value = Number(state.place[j].toPrecision(7));
}

function toMiddle() {
  state.place = state.about.coordinates.map((c) => c.categories ? 0 : (c.lower + c.upper) / 2);
  state.place.forEach((_, j) => show(j));
  changed();
}

// Value and curve

function curvePoints() {
  const c = state.about.coordinates[state.along];
  const values = c.categories ? c.categories.map((_, k) => k)
    : Array.from({ length: POINTS }, (_, i) => c.lower + (c.upper - c.lower) * i / (POINTS - 1));
  return values.map((v) => state.place.map((p, j) => j === state.along ? v : p));
}

async function changed() {
  if (state.asking) { state.again = true; return; } // one question at a time; the last place is asked for next
  state.asking = true;
  const points = [state.place.slice(), ...curvePoints()];
  const along = state.along;
  try {
    const request = { points, coverage: Number(by("coverage").value) };
    const answer = await ask("evaluate", request);
    if (!state.again) {
      reading(answer);
      plot(along, points.slice(1).map((p) => p[along]), answer);
      say("message", answer.inside[0] ? "" : "outside the ranges: the function is continued there");
      await slopes(points[0]);
    }
  } catch (problem) {
    say("message", problem.message, true);
  }
  state.asking = false;
  if (state.again) { state.again = false; changed(); }
}

function reading(answer) {
  const { name, unit } = state.about.values[state.output];
  const shown = unit && unit !== "1" ? ` ${unit}` : "";
  const value = answer.values[0][state.output];
  by("value").textContent = `${name} = ${told(value)}${shown}`;
  by("value").dataset.value = value;
  const sure = state.about.uncertainty;
  if (answer.lower) {
    const share = Math.round(100 * Number(by("coverage").value));
    by("uncertainty").textContent =
      `with ${share} % probability between ${told(answer.lower[0][state.output])} and ${told(answer.upper[0][state.output])}${shown}`;
  } else {
    by("uncertainty").textContent = sure.size === null ? sure.meaning : `${sure.meaning}: ${told(sure.size)}`;
  }
}

async function slopes(point) {
  const { gradient } = await ask("gradient", { points: [point] });
  gradient[0][state.output].forEach((slope, j) => {
    by(`slope${j}`).textContent = state.about.coordinates[j].categories ? "" : `slope ${told(slope)}`;
  });
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) found.push(Math.abs(t) < 1e-9 * step ? 0 : t);
  return found;
}

function plot(along, xs, answer) {
  const o = state.output, c = state.about.coordinates[along];
  const pick = (rows) => rows.slice(1).map((row) => row[o]);
  const ys = pick(answer.values), lower = answer.lower ? pick(answer.lower) : ys, upper = answer.upper ? pick(answer.upper) : ys;
  const W = 640, H = 400, L = 78, R = 16, T = 16, B = 52;
  let low = Math.min(...lower), high = Math.max(...upper);
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  low -= room; high += room;
  const x = (v) => L + (W - L - R) * (v - xs[0]) / (xs.at(-1) - xs[0] || 1);
  const y = (v) => H - B - (H - T - B) * (v - low) / (high - low);
  const value = state.about.values[o];
  const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${value.name} along ${c.name}` });
  for (const t of ticks(low, high, 5)) {
    svg.append(drawn("line", { class: "axis", x1: L, x2: W - R, y1: y(t), y2: y(t) }));
    svg.append(drawn("text", { x: L - 8, y: y(t) + 5, "text-anchor": "end" }, told(Number(t.toPrecision(8)))));
  }
  const marks = c.categories ? c.categories.map((name, k) => [k, name]) : ticks(xs[0], xs.at(-1), 6).map((t) => [t, told(Number(t.toPrecision(8)))]);
  for (const [t, text] of marks) svg.append(drawn("text", { x: x(t), y: H - B + 22, "text-anchor": "middle" }, text));
  svg.append(drawn("text", { x: (L + W - R) / 2, y: H - 8, "text-anchor": "middle" }, labelled(c)));
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(2)} ${y(b).toFixed(2)}`).join(" ");
  if (answer.lower) {
    const around = [...xs.map((v, i) => [v, upper[i]]), ...xs.map((v, i) => [v, lower[i]]).reverse()];
    svg.append(drawn("path", { class: "band", d: path(around) + " Z" }));
  }
  svg.append(drawn("path", { class: "curve", d: path(xs.map((v, i) => [v, ys[i]])) }));
  if (state.target !== null && state.target > low && state.target < high) {
    svg.append(drawn("line", { class: "wanted", x1: L, x2: W - R, y1: y(state.target), y2: y(state.target) }));
  }
  const here = Math.min(Math.max(state.place[along], xs[0]), xs.at(-1));
  svg.append(drawn("line", { class: "at", x1: x(here), x2: x(here), y1: T, y2: H - B }));
  if (here === state.place[along]) svg.append(drawn("circle", { class: "here", cx: x(here), cy: y(answer.values[0][o]), r: 7 }));
  by("plot").replaceChildren(svg);
}

// Inverse

async function invert(event) {
  event.preventDefault();
  const { coordinates, values } = state.about;
  state.target = Number(by("target").value);
  const fixed = {};
  coordinates.forEach((c, j) => { if (by(`hold${j}`).checked) fixed[c.name] = state.place[j]; });
  by("find").disabled = true;
  say("found", "searching\u2026");
  try {
    const answer = await ask("inverse", { target: state.target, fixed, solutions: 6 });
    const [least, most] = answer.seen.map((row) => told(row[state.output]));
    if (answer.reachable) {
      const count = answer.converged.filter(Boolean).length;
      say("found", count === 1 ? "one solution" : `${count} solutions, far apart from one another`);
    } else {
      say("found", `out of reach: values met lie between ${least} and ${most}; the nearest are`, true);
    }
    const head = made("tr", {}, made("td"), ...[...coordinates, values[0]].map((c) => made("th", { scope: "col" }, labelled(c))));
    const rows = answer.inputs.map((row, i) => {
      const use = made("button", { class: "plain", type: "button", "aria-label": `go to solution ${i + 1}` }, "go there");
      use.addEventListener("click", () => { state.place = row.slice(); row.forEach((_, j) => show(j)); changed(); });
      const cells = row.map((v, j) => made("td", {}, coordinates[j].categories ? coordinates[j].categories[v] : told(v)));
      return made("tr", {}, made("td", {}, use), ...cells, made("td", {}, told(answer.values[i][0])));
    });
    by("solutions").replaceChildren(head, ...rows);
    by("solutions").hidden = false;
  } catch (problem) {
    say("found", problem.message, true);
    by("solutions").hidden = true;
  }
  by("find").disabled = false;
  changed();
}

async function start() {
  state.about = await (await fetch("/describe")).json();
  const { coordinates, values, uncertainty, parameters, title } = state.about;
  document.title = by("title").textContent = title;
  by("about").textContent = `a function of ${coordinates.map((c) => c.name).join(", ")}; ${parameters.toLocaleString("en")} numbers`;
  by("coordinates").replaceChildren(...coordinates.map(coordinateRow));
  by("output").replaceChildren(...values.map((v, o) => made("option", { value: o }, v.name)));
  by("output-choice").hidden = values.length === 1;
  by("inverse").closest("section").hidden = values.length !== 1; // several wanted values at once: by program
  by("output").addEventListener("change", () => { state.output = Number(by("output").value); changed(); });
  by("coverage-choice").hidden = uncertainty.kind !== "interval";
  by("coverage").addEventListener("change", changed);
  by("target-unit").textContent = values[0].unit === "1" ? "" : values[0].unit;
  by("middle").addEventListener("click", toMiddle);
  by("inverse").addEventListener("submit", invert);
  toMiddle();
}

start().catch((problem) => say("message", problem.message, true));
