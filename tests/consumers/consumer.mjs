/* Check the golden set of batch normalization in JavaScript, with Node alone:

       node consumer.mjs DATA_DIR

   Exit status 0: every case of the manifest was read and agrees. 1: a line on standard error says what does not.
   DATA_DIR/README.md describes the format. consumer.c is the same program, function by function.

   Not judged: policies ("accepted" in bn.errors.json: what a convention does with one value or none), for these are the
   formulas alone; such cases are read and counted. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

let file = "", id = ""; // how a complaint begins
const total = { cases: 0, policies: 0, numbers: [0, 0], equal: [0, 0] }; // of float64 [0] and of narrower formats [1]

function fail(what) { // what is missing ends like this too, as a TypeError, or as NaN in a comparison, which fails
  throw new Error(what);
}

function list(object, key, wanted) {
  if (object[key]?.length !== wanted) fail(`"${key}" has not the ${wanted} entries that belong there`);
  return object[key].map((entry) => {
    if (typeof entry !== "number" && !["NaN", "Infinity", "-Infinity"].includes(entry)) fail(`"${key}": no number`);
    return Number(entry);
  });
}

// Formats: rounded once, to nearest, ties to even.

const FORMATS = {
  float64: { digits: 53 },
  float32: { digits: 24 },
  float16: { digits: 11, lowest: -24, largest: 65504 }, // lowest: exponent of the smallest number
  bfloat16: { digits: 8, lowest: -133, largest: (2 - 2 ** -7) * 2 ** 127 },
};

function rint(v) { // to an integer, ties to even; |v| < 2^51
  return v + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
}

function toFormat(v, { digits, lowest, largest }) {
  if (digits === 53 || v === 0 || !Number.isFinite(v)) return v;
  if (digits === 24) return Math.fround(v);
  const exponent = (new Uint32Array(Float64Array.of(v).buffer)[1] >>> 20 & 0x7ff) - 1022; // |v| < 2^exponent
  const last = 2 ** Math.max(exponent - digits, lowest); // what the last digit is worth; powers of two scale exactly
  const rounded = rint(v / last) * last;
  return Math.abs(rounded) > largest ? Math.sign(v) * Infinity : rounded;
}

/* Arithmetic that carries its error: the exact number is at most `bound` from `value`, whatever was rounded on the way.
   A rounding adds u |result| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 2.2; this
   method is section 3.3), and * and / add TINY, as they may underflow. U is u = 2^-53 and a thousandth of it, for the
   roundings of the bounds themselves: a sum of n of them loses n u, here below 10^-10. */

const U = 1.001 * 2 ** -53, TINY = 2 ** -1074;

const exact = (value) => ({ value, bound: 0 });
const rounded = (value, bound) => ({ value, bound: bound + U * Math.abs(value) });
const plus = (a, b) => rounded(a.value + b.value, a.bound + b.bound);
const minus = (a, b) => rounded(a.value - b.value, a.bound + b.bound);
const times = (a, b) => rounded(
  a.value * b.value, Math.abs(a.value) * b.bound + a.bound * (Math.abs(b.value) + b.bound) + TINY);
const over = (a, count) => rounded(a.value / count, a.bound / count + TINY);

function inverseRoot(a) { // a relative change of a by t <= 1/2 changes 1/sqrt(a) by at most t
  const v = 1 / Math.sqrt(a.value), t = a.bound / a.value;
  return rounded(v, t <= 0.5 ? v * (t + 2 * U) : Infinity);
}

/* Batch normalization. b holds shape, channels, positions, size (samples * channels * positions, row by row), x, dy,
   frozen (the statistics are constants), where (1 if a value counts; undefined if all do), shards (the samples of each;
   undefined if there are none), and of each channel what `of` holds, of each shard and channel what `ofShard` does. */

const channel = (b, k) => b.of[Math.floor(k / b.positions) % b.channels];
const counts = (b, k) => !b.where || b.where[k] === 1;

// Take the moments of elements about a centre near the mean: right for any centre, and next to nothing cancels.
function takeMoments(b, from, to) {
  for (const c of b.of) Object.assign(c, { centre: 0, count: 0, shift: exact(0), var: exact(0) });
  for (let k = from; k < to; k++) channel(b, k).count += counts(b, k);
  for (let k = from; k < to; k++) if (counts(b, k)) channel(b, k).centre += b.x[k] / channel(b, k).count;
  for (let k = from; k < to; k++) {
    if (!counts(b, k)) continue;
    const c = channel(b, k), d = minus(exact(b.x[k]), exact(c.centre));
    c.shift = plus(c.shift, d);
    c.var = plus(c.var, times(d, d));
  }
  for (const c of b.of) {
    if (c.count === 0 && b.shards) continue; // the mean of no value is asked for nowhere
    c.shift = over(c.shift, c.count);
    c.mean = plus(exact(c.centre), c.shift);
    c.var = minus(over(c.var, c.count), times(c.shift, c.shift));
  }
}

// Merge moments with those of other values (Chan, Golub & LeVeque 1983): what is not of the whole is not looked at.
function merge(whole, c) {
  if (c.count === 0) return whole;
  const count = whole.count + c.count, here = over(exact(whole.count), count), there = over(exact(c.count), count);
  const delta = minus(c.mean, whole.mean), spread = times(times(here, there), times(delta, delta));
  const mean = plus(whole.mean, times(there, delta));
  return { count, mean, var: plus(plus(times(here, whole.var), times(there, c.var)), spread) };
}

function mergeShards(b) {
  const whole = b.of.map(() => ({ count: 0, mean: exact(0), var: exact(0) }));
  let from = 0;
  b.ofShard = [];
  for (const samples of b.shards) {
    const to = from + samples * b.channels * b.positions;
    if (!(samples >= 0 && to <= b.size)) fail(`a shard of ${samples} samples`);
    takeMoments(b, from, to);
    for (const c of b.of) b.ofShard.push({ mean: c.mean, var: c.var, dgamma: exact(0), dbeta: exact(0) });
    b.of.forEach((c, k) => (whole[k] = merge(whole[k], c)));
    from = to;
  }
  if (from !== b.size) fail("the shards are not the batch");
  b.of.forEach((c, k) => {
    const { mean } = whole[k];
    Object.assign(c, whole[k], { centre: mean.value, shift: { value: 0, bound: mean.bound } });
  });
}

function shard(b, k) { // that an element is in, at its channel
  let rest = Math.floor(k / (b.channels * b.positions)), s = 0;
  while (rest >= b.shards[s]) rest -= b.shards[s++];
  return b.ofShard[s * b.channels + b.of.indexOf(channel(b, k))];
}

function xHat(b, k) {
  const c = channel(b, k);
  return times(minus(minus(exact(b.x[k]), exact(c.centre)), c.shift), c.invStd);
}

function y(b, k) {
  if (!counts(b, k)) return exact(0);
  return plus(times(exact(channel(b, k).gamma), xHat(b, k)), exact(channel(b, k).beta));
}

function takeGradients(b) { // of sum(dy * y)
  for (let k = 0; k < b.size; k++) {
    if (!counts(b, k)) continue;
    const c = b.shards ? shard(b, k) : channel(b, k);
    c.dgamma = plus(c.dgamma, times(exact(b.dy[k]), xHat(b, k)));
    c.dbeta = plus(c.dbeta, exact(b.dy[k]));
  }
  (b.ofShard ?? []).forEach((own, k) => {
    const c = b.of[k % b.channels];
    c.dgamma = plus(c.dgamma, own.dgamma);
    c.dbeta = plus(c.dbeta, own.dbeta);
  });
}

function dx(b, k) {
  const c = channel(b, k), slope = times(exact(c.gamma), c.invStd), dy = exact(b.dy[k]);
  if (!counts(b, k)) return exact(0);
  if (b.frozen) return times(slope, dy);
  return times(slope, minus(minus(dy, over(c.dbeta, c.count)), times(xHat(b, k), over(c.dgamma, c.count))));
}

// Second order. The direction of x, gamma and beta is (ddx, ddgamma, ddbeta), in a jvp as well.

function rest(b, k, v, mean, meanXHat) { // after both means
  return b.frozen ? exact(v) : minus(minus(exact(v), mean), times(xHat(b, k), meanXHat));
}

function restOfDy(b, k) {
  const c = channel(b, k);
  return rest(b, k, b.dy[k], over(c.dbeta, c.count), over(c.dgamma, c.count));
}

function restOfDdx(b, k) {
  return rest(b, k, b.ddx[k], channel(b, k).meanDdx, channel(b, k).meanDdxXHat);
}

function takeSecondOrder(b) {
  for (let k = 0; k < b.size; k++) {
    const c = channel(b, k), ddx = exact(b.ddx[k]), product = times(ddx, restOfDy(b, k));
    c.meanDdx = plus(c.meanDdx, over(ddx, c.count));
    c.meanDdxXHat = plus(c.meanDdxXHat, over(times(ddx, xHat(b, k)), c.count));
    c.meanDdxRest = plus(c.meanDdxRest, over(product, c.count)); // rest: what remains of dy
    c.doubleDgamma = plus(c.doubleDgamma, times(product, c.invStd));
  }
}

function jvp(b, k) {
  const c = channel(b, k), slope = times(exact(c.gamma), c.invStd);
  return plus(plus(times(slope, restOfDdx(b, k)), times(exact(c.ddgamma), xHat(b, k))), exact(c.ddbeta));
}

function doubleDx(b, k) {
  const c = channel(b, k), ofDy = restOfDy(b, k), direct = times(exact(c.ddgamma), ofDy);
  if (b.frozen) return times(direct, c.invStd);
  const first = times(c.meanDdxXHat, ofDy), third = times(c.meanDdxRest, xHat(b, k));
  const second = times(over(c.dgamma, c.count), restOfDdx(b, k));
  const crossed = times(times(exact(c.gamma), c.invStd), plus(plus(first, second), third));
  return times(minus(direct, crossed), c.invStd);
}

function blend(old, fresh, momentum) {
  return plus(times(minus(exact(1), exact(momentum)), old), times(exact(momentum), fresh));
}

const corrected = (c, correction) => times(c.var, over(exact(c.count), c.count - correction));

function updateRunning(b, momentum) {
  for (const c of b.of) {
    c.running_mean = blend(c.running_mean, c.mean, momentum);
    for (const correction of [0, 1]) {
      const name = `running_var_correction_${correction}`;
      c[name] = blend(c[name], corrected(c, correction), momentum);
    }
  }
}

// The set: how tensors are read or built, and results compared.

const RESULTS = {
  training: ["y", "mean", "var"],
  backward: ["dx", "dgamma", "dbeta"],
  running: ["running_mean", "running_var_correction_0", "running_var_correction_1"],
  inference: ["y"],
  frozen: ["dx", "dgamma", "dbeta"],
  jvp: ["dy"],
  double_backward: ["ddy", "dx", "dgamma"],
  frozen_jvp: ["dy"],
  frozen_double_backward: ["ddy", "dx", "dgamma"],
  masked_training: ["y", "mean", "var", "var_correction_1", "count"],
  masked_backward: ["dx", "dgamma", "dbeta"],
  sharded_training: ["y", "mean", "var", "var_correction_1", "shard_mean", "shard_var"],
  sharded_backward: ["dx", "dgamma", "dbeta", "shard_dgamma", "shard_dbeta"],
};

const LIKE_X = ["y", "dx", "dy", "ddy"];

function result(b, name, k) {
  if (name === "y") return y(b, k);
  if (name === "dy" || name === "ddy") return jvp(b, k);
  if (name === "dx") return b.twice ? doubleDx(b, k) : dx(b, k);
  if (name === "count") return exact(b.of[k].count);
  if (name === "var_correction_1") return corrected(b.of[k], 1);
  if (name.startsWith("shard_")) return b.ofShard[k][name.slice(6)];
  return b.of[k][name === "dgamma" && b.twice ? "doubleDgamma" : name];
}

function uniform(k, seed) {
  let h = k + Math.imul(seed, 0x9E3779B9) >>> 0;
  h = Math.imul(h ^ h >>> 16, 0x85EBCA6B);
  h = Math.imul(h ^ h >>> 13, 0xC2B2AE35);
  return (((h ^ h >>> 16) >>> 16) - 32768) / 32768;
}

function built(rule, b) {
  const { seed } = rule, x = new Float64Array(b.size), half = b.size / 2;
  const at = (list, k) => list[Math.floor(k / b.positions) % b.channels]; // of its channel
  if (rule.name === "hash") {
    const scale = list(rule, "scale", b.channels), offset = list(rule, "offset", b.channels);
    for (let k = 0; k < b.size; k++) x[k] = at(scale, k) * uniform(k, seed) + at(offset, k);
    rule.add.at.forEach((k, j) => (x[k] += rule.add.value[j]));
  } else if (rule.name === "mirrored") {
    const centre = list(rule, "centre", b.channels);
    for (let k = 0; k < half; k++) {
      const q = rint(4 * uniform(k, seed)) / 4 * (4 * (k % b.positions) >= 3 * b.positions ? 2 : 1);
      x[k] = at(centre, k) + q;
      x[k + half] = at(centre, k) - q;
    }
  } else if (rule.name === "quarters") {
    for (let k = 0; k < b.size; k++) x[k] = rint(4 * (uniform(k, seed) + 0.25)) / 256;
  } else {
    fail("an unknown rule");
  }
  return x;
}

function sizeOf(tensor, shape) {
  list(tensor, "shape", shape.length).forEach((size, a) => {
    if (size !== shape[a]) fail(`a tensor has ${size} on axis ${a}`);
  });
  return shape.reduce((a, b) => a * b, 1);
}

function valuesOf(tensor, b, likeX, format) {
  const size = sizeOf(tensor, likeX ? b.shape : [b.channels]);
  if (tensor.rule) return built(tensor.rule, b).map((v) => toFormat(v, format));
  const values = list(tensor, "data", size);
  for (const v of values) if (!Object.is(toFormat(v, format), v)) fail(`${v} is not of its format`);
  return values;
}

function perChannel(object, key, b, absent, format) { // null, or not there: the operation does without
  return object[key] ? valuesOf(object[key], b, false, format) : Array(b.channels).fill(absent);
}

/* The exact number lies in value -+ bound, and rounding is monotone: so the expected one, correctly rounded, lies
   between the rounded ends. In a narrow format both are one number, but where a tie is only a few u64 away. */
function compare(expected, name, b, formats) {
  const tensor = expected[name], likeX = LIKE_X.includes(name);
  const format = likeX ? formats.x : formats.parameters, narrow = Number(format.digits < 53);
  const shape = likeX ? b.shape : name.startsWith("shard_") ? [b.shards.length, b.channels] : [b.channels];
  const size = sizeOf(tensor, shape), count = tensor.at ? tensor.at.length : size;
  const data = list(tensor, "data", count), at = tensor.at ? list(tensor, "at", count) : undefined;
  const rest = narrow ? undefined : list(tensor, "rest", count); // of the exact number, which is data + rest
  if (count === 0) fail(`${name} has no numbers`);
  for (let j = 0; j < count; j++) {
    const k = at ? at[j] : j;
    if (!(k >= 0 && k < size)) fail(`${name} has no element ${k}`);
    const own = result(b, name, k);
    const bound = own.bound + U * Math.abs(own.value); // the ends are rounded themselves
    const low = toFormat(own.value - bound, format), high = toFormat(own.value + bound, format);
    if (!(Number.isFinite(bound) && low <= data[j] && data[j] <= high && toFormat(data[j], format) === data[j]))
      fail(`${name}[${k}] is ${data[j]}; own value ${own.value}, off by ${bound.toExponential(1)} at most`);
    if (rest && data[j] + rest[j] !== data[j]) fail(`${name}[${k}]: ${rest[j]} is no rest of ${data[j]}`);
    total.numbers[narrow]++;
    total.equal[narrow] += toFormat(own.value, format) === data[j];
  }
}

// NaN and inf in x or dy show in the channels that the case names, in one result at least, and in no other channel.
function checkChannels(object, b) {
  const finite = b.of.map((c) => [c.mean, c.var, c.dgamma, c.dbeta].every((n) => Number.isFinite(n.value)));
  for (let k = 0; k < b.size; k++)
    if (!Number.isFinite(y(b, k).value + dx(b, k).value)) finite[b.of.indexOf(channel(b, k))] = false;
  const named = [object.non_finite_channels, object.finite_channels];
  for (let c = 0; c < b.channels; c++)
    if (named[1].includes(c) !== finite[c] || named[0].includes(c) === finite[c])
      fail(`channel ${c} is ${finite[c] ? "" : "not "}finite, and not named so`);
}

function layout(object) {
  const product = (list) => list.reduce((a, b) => a * b, 1), shape = list(object, "shape", object.shape.length);
  const size = product(shape), channels = shape[1], positions = product(shape.slice(2));
  if (shape.length > 5 || !(channels > 0 && positions > 0 && size >= 0 && size < 1e8)) fail(`a shape of ${shape}`);
  return { shape, channels, positions, size };
}

function checkCase(object, operationOfFile, format) {
  const errors = operationOfFile === "errors", operation = errors ? object.operation : operationOfFile;
  if (!(operation in RESULTS)) fail("an unknown operation");
  const formats = { x: format, parameters: errors ? format : formatOf(object, "parameters") }, b = layout(object);
  b.frozen = operation === "inference" || operation.startsWith("frozen");
  b.twice = operation.endsWith("double_backward");
  const d = b.twice ? "d" : "", keys = { gamma: 1, beta: 0, running_mean: 0, running_var: 1 };
  [b.dy, b.ddx] = ["dy", `${d}dx`].map(
    (key) => (object[key] ? valuesOf(object[key], b, true, formats.x) : new Float64Array(b.size)));
  const [gamma, beta, mean, variance, ddgamma, ddbeta] = Object.entries(
    { ...keys, [`${d}dgamma`]: 0, [`${d}dbeta`]: 0 }).map(
    ([key, absent]) => perChannel(object, key, b, absent, formats.parameters));
  b.of = gamma.map((_, c) => {
    const oldMean = exact(mean[c]), oldVar = exact(variance[c]), zero = exact(0);
    return { gamma: gamma[c], beta: beta[c], centre: mean[c], count: b.shape[0] * b.positions, shift: zero,
      mean: oldMean, var: oldVar, dgamma: zero, dbeta: zero, ddgamma: ddgamma[c], ddbeta: ddbeta[c],
      meanDdx: zero, meanDdxXHat: zero, meanDdxRest: zero, doubleDgamma: zero, running_mean: oldMean, running_var_correction_0: oldVar, running_var_correction_1: oldVar };
  });
  if (operation === "running") {
    for (const batch of object.batches) {
      b.x = valuesOf(batch, b, true, formats.x);
      takeMoments(b, 0, b.size);
      updateRunning(b, object.momentum);
    }
  } else {
    b.x = valuesOf(object.x, b, true, formats.x);
    if (object.where) b.where = valuesOf(object.where, b, true, formats.x);
    if (object.shards) b.shards = list(object, "shards", object.shards.length);
    if (b.shards) mergeShards(b);
    else if (!b.frozen) takeMoments(b, 0, b.size);
    for (const c of b.of) c.invStd = inverseRoot(plus(c.var, exact(object.eps)));
    takeGradients(b);
    takeSecondOrder(b);
  }
  if (errors && object.accepted) total.policies++;
  else if (errors) checkChannels(object, b);
  else for (const name of RESULTS[operation]) compare(object.expected, name, b, formats);
}

function formatOf(object, key) {
  return FORMATS[object[key]] ?? fail(`"${key}" is no format`);
}

function checkFile(document, wanted) {
  const { cases, operation } = document, format = formatOf(document, "dtype");
  for (const object of cases) {
    id = object.id;
    checkCase(object, operation, format);
  }
  id = "";
  if (cases.length === 0 || cases.length !== wanted) fail(`${cases.length} cases, MANIFEST.json says ${wanted}`);
  total.cases += cases.length;
}

function checkSet(directory) {
  const read = (name) => readFileSync(join(directory, (file = name))), manifest = JSON.parse(read("MANIFEST.json"));
  for (const [name, entry] of Object.entries(manifest.files)) {
    const bytes = read(name);
    if (createHash("sha256").update(bytes).digest("hex") !== entry.sha256) fail("its SHA-256 is not the manifest's");
    if (name.startsWith("bn.")) checkFile(JSON.parse(bytes), entry.cases);
  }
  file = "MANIFEST.json";
  if (total.cases === 0 || total.cases !== manifest.total_cases) fail(`not the ${total.cases} cases of its files`);
}

try {
  if (process.argv.length !== 3) fail("usage: consumer.mjs DATA_DIR");
  checkSet(process.argv[2]);
  const share = total.equal.map((equal, narrow) => (100 * equal / total.numbers[narrow]).toFixed(2));
  console.log(`consumer.mjs: ${total.cases} cases, ${total.numbers[0] + total.numbers[1]} numbers, bit-equal: ` +
    `${share[0]} % of float64, ${share[1]} % of the narrower; ${total.policies} policies not judged`);
} catch (error) {
  console.error(`consumer.mjs: ${[file, id, error.message].filter(Boolean).join(": ")}`);
  process.exitCode = 1;
}
