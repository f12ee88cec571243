// Run a file of WebNN tests, as web-platform-tests write them, on a batch normalization of this file.
//
//     node wpt.mjs FILE direct|folded|wide|NAME OF A MISTAKE
//
// Says of each test whether it passed, then how many did; exit status 0 if all, 1 if not, 2 if there was none.
import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';

const [file, which] = process.argv.slice(2);
const f = Math.fround;

const formulas = {
  direct: (x, m, v, g, b, eps) => f(f(g * f(f(x - m) / f(Math.sqrt(f(v + eps))))) + b),
  folded: (x, m, v, g, b, eps) => {
    const a = f(g / f(Math.sqrt(f(v + eps))));
    return f(f(x * a) + f(b - f(m * a)));
  },
  wide: (x, m, v, g, b, eps) => f((g * (x - m)) / Math.sqrt(v + eps) + b),
  'eps-outside': (x, m, v, g, b, eps) => f((g * (x - m)) / (Math.sqrt(v) + eps) + b),
  'eps-ignored': (x, m, v, g, b) => f((g * (x - m)) / Math.sqrt(v) + b),
  'no-root': (x, m, v, g, b, eps) => f((g * (x - m)) / (v + eps) + b),
  'bias-inside': (x, m, v, g, b, eps) => f(g * ((x - m) / Math.sqrt(v + eps) + b)),
  'default-epsilon': (x, m, v, g, b) => f((g * (x - m)) / Math.sqrt(v + 1e-5) + b),
  'last-axis': (x, m, v, g, b, eps) => f((g * (x - m)) / Math.sqrt(v + eps) + b),
};
const formula = formulas[which];

// What web-platform-tests would ask a browser for.
function buildAndExecuteGraph(graph) {
  const [operator] = graph.operators;
  if (graph.operators.length !== 1 || operator.name !== 'batchNormalization') throw new Error(operator.name);
  const names = Object.assign({}, ...operator.arguments);
  const get = (name) => name === undefined ? undefined : Float32Array.from(graph.inputs[name].data);
  const { scale, bias, axis = 1, epsilon = 1e-5 } = names.options;
  const [x, mean, variance] = [names.input, names.mean, names.variance].map(get);
  const [gamma, beta] = [get(scale), get(bias)];
  const { shape } = graph.inputs[names.input].descriptor;
  const kept = which === 'last-axis' ? shape.length - 1 : axis;
  const inner = shape.slice(kept + 1).reduce((a, b) => a * b, 1);
  const y = x.map((value, i) => {
    const c = Math.floor(i / inner) % shape[kept];
    return formula(value, mean[c], variance[c], gamma ? gamma[c] : 1, beta ? beta[c] : 0, f(epsilon));
  });
  return { result: { [operator.outputs]: y } };
}

let passed = 0, failed = 0;
function webnn_conformance_test(tests, build, toleranceOf) {
  for (const { name, graph } of tests) {
    const { result } = build(graph);
    for (const [output, { data, descriptor }] of Object.entries(graph.expectedOutputs)) {
      const { metricType, value } = toleranceOf(graph);
      const count = descriptor.shape.reduce((a, b) => a * b, 1);
      const near = (y, i) => Math.abs(y - data[i]) <= value;
      const good = metricType === 'ATOL' && data.length === count && result[output].length === count &&
          result[output].every(near);
      good ? passed++ : failed++;
      if (!good) console.log(`FAIL ${name}`);
    }
  }
}

runInNewContext(readFileSync(file, 'utf8'), { webnn_conformance_test, buildAndExecuteGraph });
console.log(`${passed} passed, ${failed} failed`);
process.exit(passed + failed === 0 ? 2 : failed ? 1 : 0);
