/* The golden set of batch normalization: inputs that inform, with correctly rounded results. No dependencies.

       import { cases, values } from "refnorm-golden";
       const [first] = cases("training", "float32");
       first.id;                          // "bn.training.float32.two-values.1"
       values(first.x, "float32");        // a Float64Array, row by row

   What every field means is said in data/README.md. In a browser import the JSON itself: "refnorm-golden/data/...". */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const read = (name) => readFileSync(new URL(`./data/${name}`, import.meta.url));

export const manifest = JSON.parse(read("MANIFEST.json"));

/* Return the cases of an operation and a format, or of all; "errors" holds what is undefined. Throws if there are none,
   or if a file is not the one that the manifest lists. */
export function cases(operation, dtype) {
  const found = [];
  for (const [name, listed] of Object.entries(manifest.files)) {
    if (!name.startsWith("bn.")) continue;
    const [, of, format] = name.split("."), kind = of === "errors" ? "float64" : format;
    if (![undefined, of].includes(operation) || ![undefined, kind].includes(dtype)) continue;
    const raw = read(name), whole = createHash("sha256").update(raw).digest("hex") === listed.sha256;
    const entries = whole ? JSON.parse(raw).cases : [];
    if (entries.length !== listed.cases) throw new Error(`${name} is not the file that MANIFEST.json lists`);
    found.push(...entries.map((entry) => ({ operation: of, dtype: kind, ...entry })));
  }
  if (!found.length) throw new Error(`the set ${manifest.set} has no cases of ${operation} and ${dtype}`);
  return found;
}

/* Return the numbers of an input or a result in row-major order; an input that is not stored is built by its rule, and
   rounded to its format. Of a result with "at" only those are given. */
export function values(tensor, dtype = "float64") {
  if (tensor.data) return Float64Array.from(tensor.data, Number); // Number reads "NaN" and "Infinity"
  const { rule, shape } = tensor, product = (sizes) => sizes.reduce((a, b) => a * b, 1);
  const size = product(shape), positions = product(shape.slice(2)), half = size / 2;
  const channel = (k) => Math.floor(k / positions) % shape[1];
  const built = Float64Array.from({ length: size }, (_, k) => {
    if (rule.name === "quarters") return rint(4 * (uniform(k, rule.seed) + 0.25)) / 256;
    if (rule.name === "hash") return rule.scale[channel(k)] * uniform(k, rule.seed) + rule.offset[channel(k)];
    const q = rint(4 * uniform(k % half, rule.seed)) / 4 * ((k % positions) / positions >= 0.75 ? 2 : 1);
    return rule.centre[channel(k)] + (k < half ? q : -q);
  });
  if (rule.name !== "hash") return built;
  rule.add.at.forEach((k, j) => (built[k] += rule.add.value[j]));
  return built.map((v) => round(v, dtype));
}

const FORMATS = { float64: [53, -1022], float32: [24, -126], bfloat16: [8, -126], float16: [11, -14] };

const rint = (v) => v + 1.5 * 2 ** 52 - 1.5 * 2 ** 52; // to an integer, ties to even; |v| < 2^51

function round(value, dtype) {
  if (dtype === "float64" || value === 0) return value;
  const [bits, smallest] = FORMATS[dtype];
  const exponent = (new Uint32Array(Float64Array.of(value).buffer)[1] >>> 20 & 0x7ff) - 1023;
  const place = 2 ** (Math.max(exponent, smallest) - bits + 1); // powers of two scale exactly
  return rint(value / place) * place;
}

function uniform(k, seed) {
  let h = (k + Math.imul(seed, 0x9e3779b9)) >>> 0;
  h = Math.imul(h ^ h >>> 16, 0x85ebca6b);
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35);
  return (((h ^ h >>> 16) >>> 16) - 32768) / 32768;
}
