// Runs artifacts of `fgic build` on WebGPU. The types are in fgi.d.ts; the format is in manifest.schema.json.

/** The version of the format that this loader knows. */
export const FORMAT_VERSION = 1;

/** Every error of the loader; the text says what to do where there is something to do. */
export class FgiError extends Error {
  constructor(message) {
    super(message);
    this.name = "FgiError";
  }
}

/** Reads the artifact in the directory `url`, and checks that every file is the one that was built. */
export async function loadProgram(url, options = {}) {
  const base = new URL(String(url).replace(/\/?$/, "/"), globalThis.location?.href);
  const get = options.fetch ?? globalThis.fetch.bind(globalThis);
  const load = async (name) => {
    // An artifact that was built again keeps its names: the browser asks whether a file is still the same.
    const response = await get(new URL(name, base), { cache: "no-cache" });
    if (!response.ok) throw new FgiError(`${name} cannot be read: HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const manifest = parseManifest(await load("manifest.json"));
  const entries = Object.entries(manifest.files);
  // What the browser does not need, translations to other languages, is not loaded.
  const needed = new Set(manifest.kernels.map((kernel) => kernel.file));
  if (manifest.initial) needed.add(manifest.initial.file);
  const loaded = entries.filter(([name]) => needed.has(name)).map(async ([name, entry]) => {
    const bytes = await load(name);
    await checkFile(name, entry, bytes);
    return [name, bytes];
  });
  const files = new Map(await Promise.all(loaded));
  for (const name of needed) {
    if (!files.has(name)) throw new FgiError(`the manifest is wrong: it does not list ${name}`);
  }
  return new Program(manifest, files);
}

/** A device with what the program needs, from the browser's adapter. */
export async function requestDevice(program) {
  if (!globalThis.navigator?.gpu) {
    throw new FgiError("this browser has no WebGPU, or the page is not served from https or localhost");
  }
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new FgiError("WebGPU has found no graphics adapter");
  const { storage_buffers, workgroup_size, workgroup_memory } = program.manifest.profile;
  const limits = {
    maxStorageBuffersPerShaderStage: storage_buffers,
    maxComputeInvocationsPerWorkgroup: workgroup_size,
    maxComputeWorkgroupSizeX: workgroup_size,
    maxComputeWorkgroupStorageSize: workgroup_memory,
  };
  for (const [name, needed] of Object.entries(limits)) {
    if (adapter.limits[name] < needed) {
      throw new FgiError(`the program needs ${name} = ${needed}, and the adapter has ${adapter.limits[name]}`);
    }
  }
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  return adapter.requestDevice({
    requiredLimits: { ...limits, maxBufferSize, maxStorageBufferBindingSize },
  });
}

/** A program whose artifact was read. */
export class Program {
  constructor(manifest, files) {
    this.manifest = manifest;
    this.name = manifest.name;
    this.dimensions = manifest.dimensions;
    this.files = files;
    this.pipelines = new WeakMap();
  }

  /** Makes pipelines and buffers for open dimensions of these sizes. */
  async createSession(device, dims = {}, { iterationsPerDispatch = DISPATCH } = {}) {
    const { open, fixed } = this.dimensions;
    for (const name of open) {
      const size = dims[name];
      if (!Number.isSafeInteger(size) || size < 0) {
        throw new FgiError(`the dimension ${name} must be given as a whole number, as in { ${name}: 32 }`);
      }
    }
    for (const name of Object.keys(dims)) {
      if (!open.includes(name) && fixed[name] !== dims[name]) {
        const known = name in fixed ? `is fixed at ${fixed[name]}` : "is not one of the program's";
        throw new FgiError(`the dimension ${name} ${known}`);
      }
    }
    const session = new Session(this, device, dims);
    await session.prepare(iterationsPerDispatch);
    return session;
  }
}

/** A program's buffers on a device. */
export class Session {
  constructor(program, device, dims) {
    this.program = program;
    this.device = device;
    this.dims = { ...program.dimensions.fixed, ...dims };
    this.steps = 0;
    this.given = new Set();
  }

  /** The array of a name: an output, `grad/PATH`, a parameter's path, an input or a buffer of the shaders. */
  buffer(name) {
    const { inputs, params, results, buffers } = this.program.manifest;
    const result = results.find((r) => (r.role === "gradient" ? `grad/${r.name}` : r.name) === name);
    const entry = result ?? params.find((p) => p.path === name) ?? inputs.find((i) => i.name === name);
    const number = entry ? entry.buffer : buffers.findIndex((b) => b.name === name);
    if (number === undefined) return undefined; // an input that nothing depends on
    if (number < 0) throw new FgiError(`the program has nothing named ${name}`);
    return buffers[number];
  }

  /** The axes of an array, time first. */
  shape(name) {
    const entry = this.buffer(name) ?? this.program.manifest.inputs.find((i) => i.name === name);
    return this.shapeOf(entry);
  }

  /** Fills an input or a parameter. A number fills a scalar. */
  set(name, data) {
    const { inputs, params } = this.program.manifest;
    const input = inputs.find((i) => i.name === name);
    if (!input && !params.some((p) => p.path === name)) {
      const names = [...inputs.map((i) => i.name), ...params.map((p) => p.path)].join(", ");
      throw new FgiError(`${name} is no input or parameter; there are ${names}`);
    }
    const array = typeof data === "number" || typeof data === "boolean" ? [Number(data)] : data;
    const shape = this.shape(name);
    const size = product(shape);
    if (array.length !== size) {
      throw new FgiError(`${name} has ${size} elements, [${shape}], and ${array.length} were given`);
    }
    if (input) this.given.add(name);
    const buffer = this.buffer(name);
    if (!buffer || size === 0) return;
    const { memory, offset } = this.place(buffer);
    this.device.queue.writeBuffer(memory, offset, ARRAYS[buffer.type].from(array));
  }

  /** Copies an array from the device. */
  async read(name) {
    const buffer = this.buffer(name);
    if (!buffer) throw new FgiError(`nothing depends on ${name}: it is not kept`);
    const size = 4 * product(this.shapeOf(buffer));
    if (size === 0) return new ARRAYS[buffer.type]();
    const { memory, offset } = this.place(buffer);
    const staging = this.device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(memory, offset, staging, 0, size);
    this.device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      throw new FgiError(`the device did not give ${name}: ${error.message}`);
    }
    const copy = staging.getMappedRange().slice(0);
    staging.destroy();
    return new ARRAYS[buffer.type](copy);
  }

  /** Computes the outputs. */
  forward() {
    this.run("forward");
  }

  /** Computes the gradients, after `forward`. */
  backward() {
    this.run("backward");
  }

  /** Updates the parameters, after `backward`. */
  update({ learningRate }) {
    const { optimizer } = this.program.manifest;
    if (!optimizer) throw new FgiError("the program has no optimiser: it was built without --optimizer");
    this.steps += 1;
    this.set(optimizer.learning_rate, learningRate);
    if (optimizer.step) this.set(optimizer.step, this.steps);
    this.run("update");
  }

  /**
   * Gives the states their values after the run, after `forward` and, if there is one, `backward`. With an optimiser
   * `update` does it.
   */
  advance() {
    const { optimizer, passes } = this.program.manifest;
    if (optimizer) throw new FgiError("the program has an optimiser: its update sets the states");
    if (passes.update.length > 0) this.run("update");
  }

  /** Runs a pass. It is only submitted: `read` waits for it. */
  run(pass) {
    const { inputs, optimizer, passes } = this.program.manifest;
    const own = [optimizer?.learning_rate, optimizer?.step];
    const missing = inputs.find((i) => !this.given.has(i.name) && !own.includes(i.name));
    if (missing) throw new FgiError(`the input ${missing.name} was not set`);
    if (!(pass in passes)) throw new FgiError(`there is no pass ${pass}`);
    if (passes[pass].length === 0 && pass !== "forward") {
      throw new FgiError(`the program has no ${pass} pass: it was built without --grad`);
    }
    let rest = this.plan.passes[pass];
    while (rest.length > 0) {
      let iterations = 0;
      let count = 0;
      while (count < rest.length && (iterations += rest[count].iterations) <= SUBMISSION) count += 1;
      this.submit(rest.slice(0, Math.max(count, 1)));
      rest = rest.slice(Math.max(count, 1));
    }
  }

  /** Gives every parameter its initial value: the artifact's own if it has some and no seed is given. */
  initialise(seed) {
    const { initial, params } = this.program.manifest;
    if (initial && seed === undefined) {
      const tensors = parseSafetensors(this.program.files.get(initial.file));
      for (const param of params) {
        const values = tensors.get(param.path);
        if (!values && !param.state) throw new FgiError(`${initial.file} has no ${param.path}`);
        this.set(param.path, values ?? initialValues(param, this.shape(param.path), 0));
      }
    } else {
      for (const param of params) this.set(param.path, initialValues(param, this.shape(param.path), seed ?? 0));
    }
    this.steps = 0;
  }

  /** Takes over the parameters of another session on the device, by path. */
  copyParams(from) {
    const encoder = this.device.createCommandEncoder();
    for (const { path } of this.program.manifest.params) {
      if (!from.program.manifest.params.some((p) => p.path === path)) continue;
      const [source, target] = [from.place(from.buffer(path)), this.place(this.buffer(path))];
      const size = 4 * product(this.shape(path));
      if (size !== 4 * product(from.shape(path))) throw new FgiError(`${path} has another shape there`);
      if (size > 0) encoder.copyBufferToBuffer(source.memory, source.offset, target.memory, target.offset, size);
    }
    this.device.queue.submit([encoder.finish()]);
  }

  /** Frees the buffers. */
  destroy() {
    for (const buffer of [...this.memory, this.scratch, this.uniforms]) buffer.destroy();
  }

  // ---- the rest is not for callers ----

  async prepare(iterationsPerDispatch) {
    const { device } = this;
    const { manifest } = this.program;
    this.plan = planPasses(manifest, this.dims, iterationsPerDispatch);
    const limit = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
    const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const sizes = manifest.memory.map((block) => {
      const size = 4 * Math.max(evaluate(block.size, this.dims), 1);
      if (size > limit) {
        throw new FgiError(`${block.name} of ${size} bytes is more than the ${limit} that the device can use at once`);
      }
      return size;
    });
    for (const scope of ["out-of-memory", "validation"]) device.pushErrorScope(scope);
    this.memory = sizes.map((size, k) => device.createBuffer({ label: manifest.memory[k].name, size, usage: storage }));
    this.scratch = device.createBuffer({ label: "scratch", size: Math.max(this.plan.scratch, 4), usage: storage });
    const uniforms = new Uint8Array(this.plan.uniforms.length * 4 + UNIFORM_ALIGNMENT);
    uniforms.set(new Uint8Array(new Int32Array(this.plan.uniforms).buffer));
    this.uniforms = device.createBuffer({
      label: "args",
      size: uniforms.length,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    device.queue.writeBuffer(this.uniforms, 0, uniforms);
    // Sessions of a program on one device share their pipelines.
    const { pipelines } = this.program;
    if (!pipelines.has(device)) pipelines.set(device, manifest.kernels.map((kernel) => this.pipeline(kernel)));
    const compiled = pipelines.get(device);
    const groups = manifest.kernels.map((kernel, k) => this.bindGroup(kernel, compiled[k].layout));
    const failed = compiled.map((kernel) => kernel.ready.then(() => null, (error) => error));
    const errors = [await device.popErrorScope(), await device.popErrorScope(), ...(await Promise.all(failed))];
    const error = errors.find((error) => error);
    if (error) throw new FgiError(`the device refuses the program: ${error.message}`);
    const ready = await Promise.all(compiled.map((kernel) => kernel.ready));
    this.kernels = ready.map((pipeline, k) => ({ pipeline, group: groups[k] }));
    this.initialise();
  }

  pipeline(kernel) {
    const { device } = this;
    const label = kernel.name;
    const visibility = GPUShaderStage.COMPUTE;
    const entries = kernel.bindings.map((binding, k) => ({
      binding: k + 1,
      visibility,
      buffer: { type: binding.writable ? "storage" : "read-only-storage" },
    }));
    const minBindingSize = uniformBytes(kernel);
    const uniform = { type: "uniform", hasDynamicOffset: true, minBindingSize };
    if (minBindingSize > 0) entries.push({ binding: 0, visibility, buffer: uniform });
    const layout = device.createBindGroupLayout({ label, entries });
    const code = new TextDecoder().decode(this.program.files.get(kernel.file));
    const module = device.createShaderModule({ label, code });
    const ready = device.createComputePipelineAsync({
      label,
      layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: kernel.entry },
    });
    return { layout, ready };
  }

  bindGroup(kernel, layout) {
    const entries = kernel.bindings.map((binding, k) => ({
      binding: k + 1,
      resource: { buffer: binding.memory === "scratch" ? this.scratch : this.memory[binding.memory.group] },
    }));
    const size = uniformBytes(kernel);
    if (size > 0) entries.push({ binding: 0, resource: { buffer: this.uniforms, offset: 0, size } });
    return this.device.createBindGroup({ label: kernel.name, layout, entries });
  }

  submit(dispatches) {
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { kernel, uniform, workgroups } of dispatches) {
      const { pipeline, group } = this.kernels[kernel];
      const hasUniforms = this.program.manifest.kernels[kernel].uniforms.length > 0;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group, hasUniforms ? [uniform] : []);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1]);
    }
    pass.end();
    this.device.queue.submit([encoder.finish()]);
  }

  place(buffer) {
    return { memory: this.memory[buffer.memory], offset: 4 * evaluate(buffer.offset, this.dims) };
  }

  shapeOf(entry) {
    const time = entry.stream ? [this.program.manifest.time] : [];
    return [...time, ...entry.dims].map((dim) => evaluate(dim, this.dims));
  }
}

const ARRAYS = { f32: Float32Array, i32: Int32Array, bool: Uint32Array };

// ---- the manifest ----

function parseManifest(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new FgiError(`manifest.json is no JSON: ${error.message}`);
  }
  if (manifest?.format !== "fgi-artifact") throw new FgiError("manifest.json is not an fgi artifact's");
  if (manifest.version !== FORMAT_VERSION) {
    const known = `this loader knows ${FORMAT_VERSION} only`;
    throw new FgiError(`the artifact has version ${manifest.version} of the format, and ${known}`);
  }
  return manifest;
}

async function checkFile(name, entry, bytes) {
  if (bytes.length !== entry.bytes) {
    throw new FgiError(`${name} has ${bytes.length} bytes, and the manifest says ${entry.bytes}: it is not complete`);
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== entry.sha256) {
    throw new FgiError(`${name} is not the file that the manifest describes: its SHA-256 differs`);
  }
}

/** The value of a formula, `256*B*T + 1`, under these dimensions. */
export function evaluate(formula, dims) {
  let sum = 0;
  for (const [, sign, term] of formula.matchAll(/(^|[+-])\s*(-?[^+-]+)/g)) {
    let value = sign === "-" ? -1 : 1;
    for (const factor of term.split("*")) value *= factorValue(factor.trim(), dims, formula);
    sum += value;
  }
  if (!Number.isSafeInteger(sum)) throw new FgiError(`${formula} is too large`);
  return sum;
}

function factorValue(factor, dims, formula) {
  if (/^-?\d+$/.test(factor)) return Number(factor);
  const negative = factor.startsWith("-");
  const name = negative ? factor.slice(1) : factor;
  if (!(name in dims)) throw new FgiError(`the dimension ${name} of ${formula} is not given`);
  return negative ? -dims[name] : dims[name];
}

/** The size of a kernel's uniform struct. */
const uniformBytes = (kernel) => Math.ceil(kernel.uniforms.length / 4) * 16;

const product = (sizes) => sizes.reduce((product, size) => product * size, 1);

// ---- dispatches ----

/** The alignment of uniform structs, which any device takes. */
const UNIFORM_ALIGNMENT = 256;
/** Iterations of an invocation in a dispatch, and in a submission: systems reset a GPU that is busy for seconds. */
const DISPATCH = 1_000_000;
const SUBMISSION = 4_000_000;
const MAX_WORKGROUPS = 65_535;
const MAX_I32 = 2 ** 31 - 1;

/** The dispatches of all passes under these dimensions. `uniforms` holds the i32 fields of their structs. */
function planPasses(manifest, dims, budget) {
  const plan = { passes: {}, uniforms: [], scratch: 0 };
  for (const pass of ["forward", "backward", "update"]) {
    plan.passes[pass] = manifest.passes[pass].flatMap((number) => planKernel(plan, manifest, number, dims, budget));
  }
  return plan;
}

function planKernel(plan, manifest, number, dims, budget) {
  const kernel = manifest.kernels[number];
  const workgroups = gridOf(kernel, dims);
  if (!workgroups) return [];
  return partsOf(plan, kernel.chunking, dims, budget).map((part) => {
    const uniform = 4 * plan.uniforms.length;
    for (const { value } of kernel.uniforms) plan.uniforms.push(fieldValue(value, part, dims));
    while ((4 * plan.uniforms.length) % UNIFORM_ALIGNMENT !== 0) plan.uniforms.push(0);
    return { kernel: number, uniform, workgroups, iterations: part.iterations };
  });
}

/** Columns and rows of workgroups; null if there is nothing to do. */
function gridOf({ name, dispatch, workgroup_size }, dims) {
  const count = evaluate(dispatch.workgroups ?? dispatch.invocations, dims);
  if (count > MAX_I32) throw new FgiError(`${name} has too many points: use a smaller batch or fewer steps`);
  const groups = "workgroups" in dispatch ? count : Math.ceil(count / workgroup_size);
  if (groups <= 0) return null;
  const columns = Math.min(groups, MAX_WORKGROUPS);
  return [columns, Math.ceil(groups / columns)];
}

function partsOf(plan, chunking, dims, budget) {
  if (chunking === "whole") return [{ steps: [0, 0], loops: [], last: 0, iterations: 0 }];
  if (chunking.steps) return stepParts(chunking.steps, dims, budget);
  const { lengths, slots, points, lanes } = chunking.loops;
  const sizes = lengths.map((length) => Math.max(evaluate(length, dims), 0));
  const parts = loopParts(sizes, lanes, budget);
  if (parts.length > 1) plan.scratch = Math.max(plan.scratch, 4 * slots * evaluate(points, dims));
  return parts;
}

/** Ranges of steps in the order of the recurrence: its state is in memory from one to the next. */
function stepParts({ length, direction, lanes, stages }, dims, budget) {
  let cost = 1;
  for (const { points, iterations } of stages) {
    const rounds = Math.ceil(Math.max(evaluate(points, dims), 0) / lanes);
    cost += rounds * (1 + Math.max(evaluate(iterations, dims), 0));
  }
  const steps = Math.max(Math.floor(budget / cost), 1);
  const parts = [];
  const all = evaluate(length, dims);
  for (let start = 0; start < all; start += steps) {
    const end = Math.min(start + steps, all);
    parts.push({ steps: [start, end], loops: [], last: 0, iterations: (end - start) * cost });
  }
  return direction === "backward" ? parts.reverse() : parts;
}

/** Ranges of loops, one after the other: those before the current one are done, those after it not begun. */
function loopParts(lengths, lanes, budget) {
  const most = budget * lanes;
  const parts = [];
  let [current, position] = [0, 0];
  for (;;) {
    const loops = lengths.map((length, k) => (k < current ? [length, length] : [0, 0]));
    let left = most;
    while (current < lengths.length) {
      const end = Math.min(lengths[current], position + left);
      loops[current] = [position, end];
      left -= end - position;
      position = end;
      if (end < lengths[current]) break;
      [current, position] = [current + 1, 0];
    }
    const last = current === lengths.length ? 1 : 0;
    parts.push({ steps: [0, 0], loops, last, iterations: Math.floor((most - left) / lanes) });
    if (last) return parts;
  }
}

function fieldValue(value, part, dims) {
  switch (value) {
    case "step_start":
      return part.steps[0];
    case "step_end":
      return part.steps[1];
    case "last":
      return part.last;
  }
  if ("loop_start" in value) return part.loops[value.loop_start][0];
  if ("loop_end" in value) return part.loops[value.loop_end][1];
  const number = evaluate(value.dim, dims);
  if (number > MAX_I32 || number < -MAX_I32 - 1) throw new FgiError(`${value.dim} is too large: ${number}`);
  return number;
}

// ---- parameters ----

/** The f32 tensors of a safetensors file by name. */
function parseSafetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const tensors = new Map();
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const array = { F32: Float32Array, I32: Int32Array }[dtype];
    if (!array) throw new FgiError(`${name} is ${dtype}, not F32 or I32`);
    const [start, end] = data_offsets.map((offset) => 8 + length + offset);
    tensors.set(name, new array(bytes.slice(start, end).buffer));
  }
  return tensors;
}

/** Initial values of a parameter. They follow from seed and path alone; they are not the numbers of other devices. */
function initialValues({ path, state, init, bounds }, shape, seed) {
  if (state && path === "random.seed") return [Number(BigInt.asIntN(32, BigInt(seed) ^ (BigInt(seed) >> 32n)))];
  const random = generator(seed, path);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const values = new Float32Array(product(shape));
  const fill = (value) => {
    for (let k = 0; k < values.length; k += 1) values[k] = value(k);
  };
  const uniform = (bound) => fill(() => bound * (2 * random() - 1));
  const [fanIn, fanOut] = fans(shape);
  const [kind, setting] = typeof init === "string" ? [init] : Object.entries(init)[0];
  switch (kind) {
    case "constant":
      values.fill(setting);
      break;
    case "uniform":
      fill(() => setting[0] + (setting[1] - setting[0]) * random());
      break;
    case "normal":
      fill(() => setting[0] + setting[1] * normal());
      break;
    case "xavier_uniform":
      uniform(Math.sqrt(6 / (fanIn + fanOut)));
      break;
    case "xavier_normal":
      fill(() => Math.sqrt(2 / (fanIn + fanOut)) * normal());
      break;
    case "kaiming_uniform":
      uniform(Math.sqrt(6 / fanIn));
      break;
    case "kaiming_normal":
      fill(() => Math.sqrt(2 / fanIn) * normal());
      break;
    case "orthogonal":
      orthogonal(values, shape, setting, normal);
      break;
    default:
      throw new FgiError(`${path} starts from ${kind}, which this loader does not know`);
  }
  const [low, high] = bounds ?? [null, null];
  return values.map((value) => Math.min(Math.max(value, low ?? -Infinity), high ?? Infinity));
}

function fans(shape) {
  const [first = 1, second = first, ...window] = shape;
  if (window.length === 0) return [Math.max(first, 1), Math.max(second, 1)];
  return [second, first].map((fan) => Math.max(fan * product(window), 1));
}

/** In eight sums, as the runtime adds. */
function dot(a, b) {
  const sums = new Float64Array(9);
  const whole = a.length - (a.length % 8);
  for (let k = 0; k < a.length; k += 1) sums[k < whole ? k & 7 : 8] += a[k] * b[k];
  return sums.reduce((sum, value) => sum + value, 0);
}

/** Orthonormal rows or columns, whichever are fewer, times the gain (Gram and Schmidt, twice). */
function orthogonal(values, shape, gain, normal) {
  const rows = shape[0] ?? 1;
  const columns = product(shape.slice(1));
  const [few, long] = [Math.min(rows, columns), Math.max(rows, columns)];
  const found = [];
  while (found.length < few) {
    const vector = new Float64Array(long).map(normal);
    for (const other of [...found, ...found]) {
      const along = dot(vector, other);
      for (let k = 0; k < long; k += 1) vector[k] -= along * other[k];
    }
    const norm = Math.sqrt(dot(vector, vector));
    if (norm > 1e-8) found.push(vector.map((value) => value / norm));
  }
  for (let k = 0; k < values.length; k += 1) {
    const [row, column] = [Math.floor(k / columns), k % columns];
    values[k] = gain * (rows <= columns ? found[row][column] : found[column][row]);
  }
}

/**
 * Numbers in [0, 1) that follow from the seed and a text, those of the runtime's `init.rs`: ChaCha8 whose key is the
 * seed drawn out by PCG32, whose stream is the FNV-1a hash of the text.
 */
function generator(seed, text) {
  const whole = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!whole || seed < 0) throw new FgiError(`a seed is a whole number from 0, not ${seed}`);
  const low = (number) => Number(BigInt.asUintN(32, number));
  let state = BigInt.asUintN(64, BigInt(seed));
  const key = Array.from({ length: 8 }, () => {
    state = BigInt.asUintN(64, state * 0x5851f42d4c957f2dn + 0xa17654e46fbe17f3n);
    return rotated(low(((state >> 18n) ^ state) >> 27n), 32 - Number(state >> 59n));
  });
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  const constants = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574];
  const input = new Uint32Array([...constants, ...key, 0, 0, low(hash), low(hash >> 32n)]);
  let [words, used] = [null, 16];
  return () => {
    if (used === 16) {
      [words, used] = [chacha8(input), 0];
      input[12] += 1;
      if (input[12] === 0) input[13] += 1;
    }
    used += 2;
    return (words[used - 1] * 2 ** 21 + (words[used - 2] >>> 11)) / 2 ** 53;
  };
}

/** A block of ChaCha with 8 rounds (Bernstein 2008). */
function chacha8(input) {
  const x = input.slice();
  const mix = (a, b, c, d) => {
    for (const [first, second] of [[16, 12], [8, 7]]) {
      x[a] += x[b];
      x[d] = rotated(x[d] ^ x[a], first);
      x[c] += x[d];
      x[b] = rotated(x[b] ^ x[c], second);
    }
  };
  for (let round = 0; round < 8; round += 2) {
    for (let k = 0; k < 4; k += 1) mix(k, 4 + k, 8 + k, 12 + k);
    for (let k = 0; k < 4; k += 1) mix(k, 4 + ((k + 1) % 4), 8 + ((k + 2) % 4), 12 + ((k + 3) % 4));
  }
  return x.map((word, k) => word + input[k]);
}

function rotated(word, by) {
  return (word << by) | (word >>> (32 - by));
}
