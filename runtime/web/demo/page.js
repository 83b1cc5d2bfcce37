// The demo page: trains a network live, and shows what happens.

import { loadProgram, requestDevice } from "../fgi.js";
import { drawRaster, plot } from "./plot.js";

const BATCH = 32;
const TEST_EVERY = 25;
/** The folders under `artifacts`, and how the page calls them. */
const SHAPES = {
  gaussian: { title: "Gaussian", colour: "#2f6fde", about: "exp(−v² / 2σ²), σ = 0.5" },
  double_gaussian: { title: "Double Gaussian", colour: "#8b3fd1", about: "1.3 narrow − 0.3 wide: negative at its sides" },
  sigmoid: { title: "Sigmoid", colour: "#149e7e", about: "4 s(4v) (1 − s(4v))" },
  fast_sigmoid: { title: "Fast sigmoid", colour: "#c98a06", about: "1 / (1 + 5|v|)²" },
  triangle: { title: "Triangle", colour: "#cf3d7c", about: "max(0, 1 − |v|)" },
  none: { title: "None", colour: "#7c8794", about: "0, the true derivative: the spiking layer learns nothing" },
};

const get = (id) => document.getElementById(id);
const state = {
  device: null,
  data: null,
  programs: new Map(),
  shape: "gaussian",
  /** The sessions of the current surrogate: a batch, the test images, one image. */
  train: null,
  test: null,
  view: null,
  histories: new Map(),
  accuracy: null,
  running: false,
  busy: Promise.resolve(),
  /** The image that is shown, 64 numbers from 0 to 1. */
  image: null,
};
// For tests and the curious.
globalThis.demo = state;

start().catch(fail);

async function start() {
  buildControls();
  if (!navigator.gpu) throw new Error("WebGPU is missing");
  const program = await load("gaussian/digits");
  state.device = await requestDevice(program);
  state.device.lost.then((info) => info.reason !== "destroyed" && fail(new Error(`the device was lost: ${info.message}`)));
  state.data = await loadDigits();
  state.image = state.data.test.pixels.slice(0, 64);
  await choose(state.shape);
  for (const id of ["train", "reset"]) get(id).disabled = false;
  document.body.dataset.ready = "true";
}

async function load(path) {
  if (!state.programs.has(path)) state.programs.set(path, await loadProgram(new URL(`artifacts/${path}`, import.meta.url)));
  return state.programs.get(path);
}

/** Goes over to a surrogate and starts anew from the same parameters. */
async function choose(shape) {
  state.shape = shape;
  for (const button of get("shapes").children) button.setAttribute("aria-checked", button.value === shape);
  get("shape-text").textContent = SHAPES[shape].about;
  const { device, data } = state;
  const program = await load(`${shape}/digits`);
  for (const session of [state.train, state.test, state.view]) session?.destroy();
  state.train = await program.createSession(device, { B: BATCH });
  state.test = await program.createSession(device, { B: data.test.count });
  state.view = await program.createSession(device, { B: 1 });
  setBatch(state.test, data.test, range(data.test.count));
  state.histories.set(shape, []);
  state.accuracy = null;
  await Promise.all([showCurve(), measure()]);
}

/** One training step. The order of images is the same for every surrogate. */
async function step() {
  const { train, data, histories, shape } = state;
  const history = histories.get(shape);
  setBatch(train, data.train, batchOf(history.length, data.train.count));
  train.forward();
  train.backward();
  train.update({ learningRate: Number(get("rate").value) });
  const [loss] = await train.read("loss");
  history.push(loss);
  if (!Number.isFinite(loss)) stop();
  if (history.length % TEST_EVERY === 0) await measure();
}

/** Draws everything again, in the canvases' new size. */
function redraw() {
  if (!state.view) return;
  show();
  enqueue(showCurve);
  enqueue(look);
}

async function measure() {
  const { test, train, data } = state;
  test.copyParams(train);
  test.forward();
  const logits = await test.read("logits");
  const right = range(data.test.count).filter((k) => best(logits.slice(10 * k, 10 * k + 10)) === data.test.labels[k]);
  state.accuracy = right.length / data.test.count;
  await look();
  show();
}

/** Reads the image that is shown. */
async function look() {
  const { view, train, image } = state;
  view.copyParams(train);
  view.set("pixels", image);
  view.set("label", [0]);
  view.forward();
  const [logits, spikes] = [await view.read("logits"), await view.read("spikes")];
  const largest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = weights.reduce((a, b) => a + b);
  showClasses(weights.map((weight) => weight / sum));
  const [steps, , neurons] = view.shape("spikes");
  drawRaster(get("raster"), spikes, steps, neurons);
  const count = spikes.reduce((a, b) => a + b);
  get("raster-text").textContent = `of the ${neurons} neurons while they read it: ${count} of ${spikes.length}`;
  drawSeen();
}

async function loop() {
  while (state.running) {
    await enqueue(step);
    show();
    await new Promise(requestAnimationFrame);
  }
}

/** Work on the sessions, one piece after the other. */
function enqueue(work) {
  state.busy = state.busy.then(work).catch(fail);
  return state.busy;
}

function stop() {
  state.running = false;
  get("train").textContent = "Train";
}

// ---- data ----

async function loadDigits() {
  const response = await fetch(new URL("artifacts/digits.csv.gz", import.meta.url));
  if (!response.ok) throw new Error("artifacts/digits.csv.gz is missing");
  const text = await new Response(response.body.pipeThrough(new DecompressionStream("gzip"))).text();
  const rows = text.trim().split("\n").map((line) => line.split(",").map(Number));
  const part = (keep) => {
    const kept = rows.filter((_, k) => keep(k));
    const pixels = Float32Array.from(kept.flatMap((row) => row.slice(0, 64)), (value) => value / 16);
    return { count: kept.length, pixels, labels: kept.map((row) => row[64]) };
  };
  return { train: part((k) => k % 5 !== 4), test: part((k) => k % 5 === 4) };
}

/** Fills the inputs with these images: step by step, row by row. */
function setBatch(session, part, chosen) {
  const [steps, size, pixels] = session.shape("pixels");
  const array = new Float32Array(steps * size * pixels);
  chosen.forEach((image, b) => {
    for (let t = 0; t < steps; t += 1) {
      const row = part.pixels.subarray(64 * image + pixels * t, 64 * image + pixels * (t + 1));
      array.set(row, (t * size + b) * pixels);
    }
  });
  session.set("pixels", array);
  session.set("label", chosen.map((image) => part.labels[image]));
}

const range = (count) => Array.from({ length: count }, (_, k) => k);
const best = (values) => values.indexOf(Math.max(...values));

/** The images of a step: a walk through all of them by a stride that is prime to their number. */
function batchOf(step, count) {
  let stride = 577;
  while (count % stride === 0) stride += 2;
  return range(BATCH).map((k) => ((step * BATCH + k) * stride) % count);
}

// ---- what is shown ----

function show() {
  const history = state.histories.get(state.shape);
  const series = [...state.histories].map(([shape, losses]) => ({
    colour: SHAPES[shape].colour,
    faint: shape !== state.shape,
    points: smooth(losses),
  }));
  const most = Math.max(100, ...[...state.histories.values()].map((losses) => losses.length));
  plot(get("loss"), { x: [0, most], y: [0, 2.5], series, labels: ["steps", ""] });
  get("legend").replaceChildren(...[...state.histories].map(([shape, losses]) => {
    const item = document.createElement("span");
    item.style.setProperty("--mark", SHAPES[shape].colour);
    const last = smooth(losses).at(-1);
    item.textContent = last ? `${SHAPES[shape].title} ${last[1].toFixed(3)}` : SHAPES[shape].title;
    return item;
  }));
  const accuracy = state.accuracy === null ? "–" : `${(100 * state.accuracy).toFixed(1)} %`;
  get("status").textContent = `${history.length} steps · ${accuracy} of the test images right`;
}

/** Means over the last 20 steps. */
function smooth(losses) {
  let sum = 0;
  return losses.map((loss, k) => {
    sum += loss - (k >= 20 ? losses[k - 20] : 0);
    return [k + 1, sum / Math.min(k + 1, 20)];
  });
}

/** The spike and its surrogate, computed by the device from the same text as the network's. */
async function showCurve() {
  const program = await load(`${state.shape}/curve`);
  const count = 401;
  const session = await program.createSession(state.device, { M: count });
  const v = Float32Array.from(range(count), (k) => (k / (count - 1)) * 4 - 2);
  session.set("v", v);
  session.forward();
  session.backward();
  const [value, gradient] = [await session.read("spike"), await session.read("grad/v")];
  session.destroy();
  const points = (values) => Array.from(values, (y, k) => [v[k], y]);
  const style = getComputedStyle(document.body);
  const series = [
    { colour: style.getPropertyValue("--text"), points: points(value) },
    { colour: style.getPropertyValue("--spike"), points: points(gradient) },
  ];
  plot(get("curve"), { x: [-2, 2], y: [-0.25, 1.4], series, labels: ["potential − threshold", ""] });
}

function showClasses(shares) {
  const winner = best(shares);
  get("classes").replaceChildren(...shares.map((share, digit) => {
    const item = document.createElement("li");
    item.className = digit === winner ? "best" : "";
    item.style.setProperty("--share", share);
    item.innerHTML = `<span>${digit}</span><i></i><em>${Math.round(100 * share)} %</em>`;
    return item;
  }));
}

function drawSeen() {
  const context = get("seen").getContext("2d");
  state.image.forEach((ink, k) => {
    const grey = Math.round(255 * (1 - ink));
    context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    context.fillRect(12 * (k % 8), 12 * Math.floor(k / 8), 12, 12);
  });
}

// ---- controls ----

function buildControls() {
  for (const [shape, { title }] of Object.entries(SHAPES)) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", value: shape, textContent: title });
    button.setAttribute("role", "radio");
    button.onclick = () => state.device && enqueue(() => choose(shape));
    get("shapes").append(button);
  }
  get("train").onclick = () => {
    if (state.running) return stop();
    state.running = true;
    get("train").textContent = "Pause";
    loop();
  };
  get("reset").onclick = () => enqueue(() => choose(state.shape));
  get("sample").onclick = () => {
    const { pixels, count } = state.data.test;
    const image = Math.floor(Math.random() * count);
    state.image = pixels.slice(64 * image, 64 * image + 64);
    clearPad();
    enqueue(look);
  };
  get("clear").onclick = clearPad;
  addEventListener("resize", redraw);
  const pad = get("pad");
  pad.onpointerdown = (event) => {
    pad.setPointerCapture(event.pointerId);
    stroke(event, event);
  };
  let last;
  pad.onpointermove = (event) => {
    if (event.buttons && last) stroke(last, event);
    last = event;
  };
  pad.onpointerup = () => readPad();
  clearPad();
}

function clearPad() {
  const context = get("pad").getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 280, 280);
}

function stroke(from, to) {
  const pad = get("pad");
  const box = pad.getBoundingClientRect();
  const place = (event) => [event.clientX - box.left, event.clientY - box.top].map((x) => (x * 280) / box.width);
  const context = pad.getContext("2d");
  Object.assign(context, { lineWidth: 34, lineCap: "round", strokeStyle: "#000" });
  context.beginPath();
  context.moveTo(...place(from));
  context.lineTo(...place(to));
  context.stroke();
}

/** What was drawn, as the data set's images were made: fitted into the square and averaged to 8×8. */
function readPad() {
  const pad = get("pad");
  const { data } = pad.getContext("2d").getImageData(0, 0, 280, 280);
  let [left, top, right, bottom] = [280, 280, -1, -1];
  for (let k = 0; k < 280 * 280; k += 1) {
    if (data[4 * k] > 127) continue;
    const [x, y] = [k % 280, Math.floor(k / 280)];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }
  if (right < 0) return;
  const [width, height] = [right - left + 1, bottom - top + 1];
  const scale = Math.min(32 / height, 26 / width);
  const small = new OffscreenCanvas(32, 32).getContext("2d");
  small.fillStyle = "#fff";
  small.fillRect(0, 0, 32, 32);
  small.imageSmoothingQuality = "high";
  const [w, h] = [width * scale, height * scale];
  small.drawImage(pad, left, top, width, height, (32 - w) / 2, (32 - h) / 2, w, h);
  const ink = small.getImageData(0, 0, 32, 32).data;
  state.image = new Float32Array(64);
  for (let k = 0; k < 1024; k += 1) {
    const cell = 8 * Math.floor(k / 128) + Math.floor((k % 32) / 4);
    state.image[cell] += (1 - ink[4 * k] / 255) / 16;
  }
  if (state.view) enqueue(look);
}

// ---- what goes wrong ----

function fail(error) {
  stop();
  console.error(error);
  const problem = get("problem");
  problem.hidden = false;
  get("status").textContent = "";
  if (!navigator.gpu) {
    problem.innerHTML = `<b>This page needs WebGPU, and this browser does not offer it here.</b>
      Use Chrome or Edge 113 or newer (on Linux with <code>chrome://flags/#enable-unsafe-webgpu</code>), Safari 26, or
      Firefox 141 on Windows; and open the page from <code>https</code> or <code>http://localhost</code>, for other
      addresses have no WebGPU.`;
    return;
  }
  problem.innerHTML = "<b>It does not work:</b> <span></span>";
  problem.querySelector("span").textContent = error.message;
  if (/404|missing|cannot be read/.test(error.message)) {
    problem.insertAdjacentHTML("beforeend", `<p>The artifacts are made by a command, in the folder of the repository:</p>
      <pre>bash runtime/web/demo/build.sh</pre>`);
  }
}
