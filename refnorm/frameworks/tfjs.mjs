// TensorFlow.js: one call of tf.layers.batchNormalization, channels last, for each line of JSON, on the back end named.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(join(process.argv[2], "package.json"));
console.warn = console.log = () => {}; // it advises its native back end, which is not what is judged
const tf = require("@tensorflow/tfjs");
const wasm = require("@tensorflow/tfjs-backend-wasm");
wasm.setWasmPaths(dirname(require.resolve("@tensorflow/tfjs-backend-wasm")) + "/");
wasm.setThreadsCount(1);

const read = ({ shape, data }) => {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return tf.tensor(new Float32Array(bytes.buffer), shape, "float32");
};
const written = (t) => {
  const values = t.dataSync();
  const data = Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");
  return { dtype: t.dtype, shape: t.shape, data };
};

function layerOf({ gamma, beta, mean, variance, momentum, eps }, shape) {
  const options = { epsilon: eps ?? undefined, momentum: momentum ?? undefined, scale: gamma !== null, center: beta !== null };
  const layer = tf.layers.batchNormalization(options);
  layer.build(shape);
  if (mean) layer.setWeights([gamma, beta, mean, variance].filter((w) => w !== null).map(read));
  return layer;
}

function forward(request) {
  const x = read(request.x), layer = layerOf(request, x.shape);
  const y = layer.apply(x, { training: request.training });
  return [y, ...layer.getWeights().slice(-2)].map(written);
}

function backward(request) {
  const layer = layerOf(request, request.x.shape), dy = read(request.dy);
  const variables = [tf.variable(read(request.x)), ...layer.trainableWeights.map((w) => w.val)];
  const loss = () => tf.sum(tf.mul(layer.apply(variables[0], { training: request.training }), dy));
  const { grads } = tf.variableGrads(loss, variables);
  return variables.map((v) => written(grads[v.name]));
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    const request = JSON.parse(line);
    if (tf.getBackend() !== request.backend && !(await tf.setBackend(request.backend)))
      throw new Error(`${request.backend} is not to be had`);
    said = { result: tf.tidy(() => (request.dy ? backward : forward)(request)) };
  } catch (error) {
    said = { error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
