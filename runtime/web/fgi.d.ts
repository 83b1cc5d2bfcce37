/** Runs artifacts of `fgic build` on WebGPU. */

/** The version of the format that this loader knows. */
export const FORMAT_VERSION: 1;

/** Every error of the loader; the text says what to do where there is something to do. */
export class FgiError extends Error {}

/** Sizes of dimensions by name, as in `{ T: 28, B: 32 }`. */
export type Dimensions = Record<string, number>;

/** The elements of an array, row-major: f32, i32, or u32 0 and 1 for booleans. */
export type Elements = Float32Array | Int32Array | Uint32Array;

/** The passes of a program, in the order of a training step. */
export type Pass = "forward" | "backward" | "update";

/**
 * Reads the artifact in the directory `url`, and checks that every file is the one that was built.
 *
 * @throws {FgiError} if a file is missing or changed, or if the format is not known.
 */
export function loadProgram(url: string | URL, options?: { fetch?: typeof fetch }): Promise<Program>;

/**
 * A device with what the program needs, from the browser's adapter.
 *
 * @throws {FgiError} if there is no WebGPU, no adapter, or none that has enough.
 */
export function requestDevice(program: Program): Promise<GPUDevice>;

/** A program whose artifact was read. */
export class Program {
  private constructor();
  /** The graph's name. */
  readonly name: string;
  /** What must be given to `createSession`, and what was fixed when it was compiled. */
  readonly dimensions: { readonly open: readonly string[]; readonly fixed: Readonly<Dimensions> };
  /** `manifest.json`, as its schema describes it. */
  readonly manifest: Manifest;
  /**
   * Makes pipelines and buffers for open dimensions of these sizes. Parameters start from the artifact's values, or
   * from their initialisers with seed 0. Sessions of one program on one device share pipelines, not buffers.
   *
   * `iterationsPerDispatch` is how long a dispatch may be, in loop iterations of an invocation (1,000,000): longer
   * work is cut, for systems reset a GPU that is busy for seconds.
   *
   * @throws {FgiError} if a dimension is missing or too large for the device, or if the device refuses a shader.
   */
  createSession(
    device: GPUDevice,
    dims?: Dimensions,
    options?: { iterationsPerDispatch?: number },
  ): Promise<Session>;
}

/**
 * A program's buffers on a device. Names are those of the program: outputs (`loss`), gradients (`grad/h.w`), parameters
 * (`h.w`), inputs (`x`), and the buffers of the shaders (`h_u`).
 */
export class Session {
  private constructor();
  readonly program: Program;
  readonly device: GPUDevice;
  /** All dimensions, open and fixed. */
  readonly dims: Readonly<Dimensions>;
  /** Updates since the parameters were initialised. Set it when parameters of a checkpoint are set. */
  steps: number;
  /** The axes of an array, time first. */
  shape(name: string): number[];
  /**
   * Fills an input or a parameter. A number fills a scalar.
   *
   * @throws {FgiError} if there is no such name, or if the number of elements is wrong.
   */
  set(name: string, data: number | boolean | ArrayLike<number>): void;
  /** Copies an array from the device, after all that was submitted before. */
  read(name: string): Promise<Elements>;
  /** Computes the outputs. */
  forward(): void;
  /** Computes the gradients, after `forward`. */
  backward(): void;
  /** Updates the parameters, after `backward`. */
  update(options: { learningRate: number }): void;
  /**
   * Gives the states their values after the run, after `forward` and, if there is one, `backward`.
   *
   * @throws {FgiError} if there is an optimiser: then `update` does it.
   */
  advance(): void;
  /** Runs a pass. It is only submitted: `read` waits for it. */
  run(pass: Pass): void;
  /**
   * Gives every parameter its initial value: the artifact's own if it has some and no seed is given. The numbers of a
   * seed are those of every other device, but for the last bit where logarithms and cosines are rounded otherwise.
   *
   * @throws {FgiError} if the seed is no whole number from 0.
   */
  initialise(seed?: number | bigint): void;
  /** Takes over the parameters of another session on the device, by path. */
  copyParams(from: Session): void;
  /** Frees the buffers. */
  destroy(): void;
}

/** The parts of a manifest that callers are likely to read. The schema (`fgic schema`) has all. */
export interface Manifest {
  readonly format: "fgi-artifact";
  readonly version: number;
  readonly generator: string;
  readonly name: string;
  readonly inputs: readonly { name: string; type: "f32" | "i32" | "bool"; dims: string[]; stream: boolean; docs?: string }[];
  readonly params: readonly {
    path: string;
    type?: "i32";
    dims: string[];
    optimizer_state: boolean;
    state?: boolean;
    docs?: string;
  }[];
  readonly results: readonly { role: "output" | "gradient"; name: string; buffer: number }[];
  readonly optimizer?: { name: string; learning_rate: string; step?: string };
  readonly [key: string]: unknown;
}

/** The value of a formula, `256*B*T + 1`, under these dimensions. */
export function evaluate(formula: string, dims: Dimensions): number;
