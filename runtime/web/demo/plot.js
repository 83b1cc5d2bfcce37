// Lines and dots on a canvas.

/** Lines: `series` has a colour and points for each; `x` and `y` are the ranges shown. */
export function plot(canvas, { x, y, series, labels }) {
  const { context, width, height, style } = prepare(canvas);
  const area = { left: 34, right: width - 14, top: 8, bottom: height - 30 };
  const toX = (value) => area.left + ((value - x[0]) / (x[1] - x[0])) * (area.right - area.left);
  const toY = (value) => area.bottom - ((value - y[0]) / (y[1] - y[0])) * (area.bottom - area.top);
  context.fillStyle = style.getPropertyValue("--soft");
  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of ticks(y)) {
    line(context, [[area.left, toY(value)], [area.right, toY(value)]]);
    context.fillText(String(value), area.left - 6, toY(value));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const value of ticks(x)) context.fillText(String(value), toX(value), area.bottom + 5);
  context.textAlign = "right";
  context.fillText(labels[0], area.right, area.bottom + 17);
  context.save();
  context.beginPath();
  context.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
  context.clip();
  for (const { colour, points, faint } of [...series].sort((a, b) => Number(b.faint ?? 0) - Number(a.faint ?? 0))) {
    context.strokeStyle = colour;
    context.globalAlpha = faint ? 0.4 : 1;
    context.lineWidth = faint ? 1.5 : 2;
    line(context, points.map(([px, py]) => [toX(px), toY(py)]));
  }
  context.restore();
}

/** Spikes: a row for each neuron, a column for each step. */
export function drawRaster(canvas, spikes, steps, neurons) {
  const { context, width, height, style } = prepare(canvas);
  const area = { left: 34, right: width - 14, top: 4, bottom: height - 30 };
  const [w, h] = [(area.right - area.left) / steps, (area.bottom - area.top) / neurons];
  context.fillStyle = style.getPropertyValue("--soft");
  context.textBaseline = "top";
  context.textAlign = "center";
  for (let t = 0; t < steps; t += 1) context.fillText(String(t + 1), area.left + (t + 0.5) * w, area.bottom + 5);
  context.textAlign = "right";
  context.fillText("step", area.right, area.bottom + 17);
  context.fillText("1", area.left - 6, area.top);
  context.textBaseline = "bottom";
  context.fillText(String(neurons), area.left - 6, area.bottom);
  context.strokeStyle = style.getPropertyValue("--line");
  context.strokeRect(area.left - 0.5, area.top - 0.5, area.right - area.left + 1, area.bottom - area.top + 1);
  context.fillStyle = style.getPropertyValue("--spike");
  spikes.forEach((spike, k) => {
    if (spike === 0) return;
    const [t, neuron] = [Math.floor(k / neurons), k % neurons];
    context.fillRect(area.left + (t + 0.1) * w, area.top + (neuron + 0.15) * h, 0.8 * w, Math.max(0.7 * h, 1));
  });
}

function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = globalThis.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(document.body);
  context.font = `12px ${style.fontFamily}`;
  return { context, width, height, style };
}

function line(context, points) {
  context.beginPath();
  points.forEach(([x, y], k) => (k === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  context.stroke();
}

/** Round numbers inside of a range, about five. */
function ticks([low, high]) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}
