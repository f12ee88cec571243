// TensorFlow.js computes the cases that `refnorm golden export DIRECTORY --dtypes float32` wrote (JSON inputs).
//
//   npm ci --ignore-scripts && node bn.mjs DIRECTORY [last|first]
//
// tf.layers.batchNormalization on the pure JavaScript back end, as a user has it: in training and inference, with
// gradients by tf.variableGrads. "last": x is transposed, so that channels are the last axis, where the layer has them
// by default; "first": the layer is told that they are axis 1. What TensorFlow.js refuses is written as "raises".

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

console.warn = () => {}; // tf.js advises its native back end, which is not what is judged
const tf = await import("@tensorflow/tfjs");
await tf.setBackend("cpu");

const [directory, channels = "last"] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(join(directory, "export.json"), "utf8"));
mkdirSync(join(directory, "outputs"), { recursive: true });

const tensor = (t) => tf.tensor(t.data.map(Number), t.shape, "float32");
const order = (rank) => [0, ...Array.from({ length: rank - 2 }, (_, k) => k + 2), 1];
const back = (rank) => [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, k) => k + 1)];
const toLayer = (x) => (channels === "last" ? tf.transpose(x, order(x.rank)) : x);
const fromLayer = (y) => (channels === "last" ? tf.transpose(y, back(y.rank)) : y);
const written = (t) => ({
  dtype: t.dtype,
  shape: t.shape,
  data: Array.from(t.dataSync(), (v) => (Number.isFinite(v) ? v : String(v))),
});

function layerOf(c, shape) {
  const layer = tf.layers.batchNormalization({
    axis: channels === "last" ? -1 : 1,
    momentum: c.momentum,
    epsilon: c.eps,
    scale: c.gamma !== null,
    center: c.beta !== null,
  });
  layer.build(shape);
  const weights = [c.gamma, c.beta, c.running_mean, c.running_var].filter((w) => w !== null);
  layer.setWeights(weights.map(tensor));
  return layer;
}

function gradients(c, x, training, outputs) {
  const layer = layerOf(c, x.shape);
  const dy = toLayer(tensor(c.dy));
  const variables = [tf.variable(x), ...layer.trainableWeights.map((w) => w.val)];
  const { grads } = tf.variableGrads(() => tf.sum(tf.mul(layer.apply(variables[0], { training }), dy)), variables);
  const [dx, ...rest] = variables.map((v) => grads[v.name]);
  outputs.dx = written(fromLayer(dx));
  if (c.gamma !== null) outputs.dgamma = written(rest.shift());
  if (c.beta !== null) outputs.dbeta = written(rest.shift());
}

function compute(c) {
  const outputs = {};
  const batches = (c.batches ?? [c.x]).map((t) => toLayer(tensor(t)));
  const training = c.operation === "training";
  const layer = layerOf(c, batches[0].shape);
  let y;
  for (const x of batches) y = layer.apply(x, { training });
  outputs.y = written(fromLayer(y));
  if (training) {
    const [mean, variance] = layer.getWeights().slice(-2);
    outputs.running_mean = written(mean);
    outputs.running_var = written(variance);
  }
  const count = batches[0].size / batches[0].shape.at(channels === "last" ? -1 : 1);
  if (!training || count > 1) {
    try {
      gradients(c, batches.at(-1), training, outputs);
    } catch (error) {
      outputs.raises = { [training ? "backward" : "frozen"]: error.message };
    }
  }
  return outputs;
}

for (const entry of manifest.cases) {
  const c = JSON.parse(readFileSync(join(directory, entry.file), "utf8"));
  let outputs;
  try {
    outputs = tf.tidy(() => compute(c));
  } catch (error) {
    outputs = { raises: error.message };
  }
  writeFileSync(join(directory, "outputs", `${entry.id}.json`), JSON.stringify(outputs));
}
const program = { name: `TensorFlow.js, channels ${channels}`, version: tf.version.tfjs, convention: "keras" };
writeFileSync(join(directory, "outputs", "program.json"), JSON.stringify(program));
