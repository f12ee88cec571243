// ONNX Runtime's build for the web on one thread: a line of JSON with a model, or with inputs, is answered by a line.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const resolve = createRequire(join(process.argv[2], "package.json")).resolve;
const ort = await import(pathToFileURL(resolve("onnxruntime-web")));
const web = ort.default ?? ort;
web.env.wasm.numThreads = 1;
web.env.logLevel = "fatal";

const ARRAYS = { float64: Float64Array, float32: Float32Array, float16: globalThis.Float16Array ?? Uint16Array };
const sessions = [];

function tensor({ dtype, shape, data }) {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return new web.Tensor(dtype, new ARRAYS[dtype](bytes.buffer), shape);
}

function written({ type, dims, data }) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { dtype: type, shape: dims, data: bytes.toString("base64") };
}

async function answer({ model, session, feeds }) {
  if (model !== undefined) {
    const options = { executionProviders: ["wasm"], logSeverityLevel: 4 };
    return sessions.push(await web.InferenceSession.create(Uint8Array.from(Buffer.from(model, "base64")), options)) - 1;
  }
  const inputs = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, tensor(value)]));
  const results = await sessions[session].run(inputs);
  return sessions[session].outputNames.map((name) => written(results[name]));
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = { result: await answer(JSON.parse(line)) };
  } catch (error) {
    said = { error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
