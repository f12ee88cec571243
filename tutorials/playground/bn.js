// Batch normalization of one channel, its gradient and its running average, for the pictures; tested against refnorm.
"use strict";

const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;
const dot = (a, b) => sum(a.map((value, i) => value * b[i]));

/** Return a generator of numbers in (0, 1), the same for the same seed. */
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
}

/** Return a generator of normal numbers (Box and Muller, 1958). */
function normal(seed) {
  const next = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
}

const DISTRIBUTIONS = {
  normal: (seed) => normal(seed),
  uniform: (seed) => {
    const next = uniform(seed);
    return () => Math.sqrt(12) * (next() - 0.5);
  },
  "two groups": (seed) => {
    const [next, noise] = [uniform(seed), normal(seed + 1)];
    return () => (next() < 0.5 ? -0.97 : 0.97) + 0.25 * noise();
  },
  "skewed, as after ReLU": (seed) => {
    const next = normal(seed);
    return () => Math.max(0, next()) / 0.5838;
  },
  "one outlier": (seed) => {
    const next = normal(seed);
    let first = true;
    return () => {
      const value = first ? 8 : next();
      first = false;
      return value;
    };
  },
  "all equal": () => () => 0,
};

/** Draw a batch of m values around 1, of a spread; the first values stay when m grows. */
function drawn({ distribution, m, spread, seed }) {
  const next = DISTRIBUTIONS[distribution](seed);
  return Array.from({ length: m }, () => 1 + spread * next());
}

/** Normalise (Ioffe and Szegedy 2015, Algorithm 1): mean, biased variance, s = sqrt(var + eps), x_hat, y. */
function normalised(x, { eps, gamma, beta }) {
  const mu = mean(x);
  const variance = mean(x.map((value) => (value - mu) ** 2));
  const s = Math.sqrt(variance + eps);
  const x_hat = x.map((value) => (value - mu) / s);
  return { mean: mu, variance, s, x_hat, y: x_hat.map((value) => gamma * value + beta) };
}

/** Return dx for the gradient g at y, and which shares of |g|^2 the mean and x_hat take away. */
function gradient(g, { x_hat, s, variance }, { eps, gamma }) {
  const c = mean(g.map((value, i) => value * x_hat[i]));
  const left = g.map((value, i) => value - mean(g) - x_hat[i] * c);
  const whole = dot(g, g);
  const shares = { mean: (g.length * mean(g) ** 2) / whole, left: dot(left, left) / whole };
  shares.x_hat = Math.max(0, 1 - shares.mean - shares.left);
  // of random g, on average: the mean takes one direction of m, x_hat all but eps / (var + eps) of another
  const kept = variance > 0 ? (eps / (variance + eps)) ** 2 : 1;
  const expected = (g.length - 2 + kept) / g.length;
  return { dx: left.map((value) => (gamma / s) * value), left, shares, expected };
}

/** Follow the mean of batches of m with a running average that gives the newest one the weight `momentum`. */
function followed({ momentum, m, steps, truth, seed }) {
  const next = normal(seed);
  let running = 0;
  return Array.from({ length: steps }, (_, step) => {
    const batch = truth(step) + next() / Math.sqrt(m);
    running = (1 - momentum) * running + momentum * batch;
    return { step, truth: truth(step), batch, running };
  });
}
