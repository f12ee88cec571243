// Four pictures of one batch, live: what is normalised, what divides, what is left of a gradient, what a memory lags.
"use strict";

{
  const STEPS = 200;
  const state = { m: 16, spread: 1, eps: 1e-5, gamma: 1, beta: 0, distribution: "normal", momentum: 0.1, world: "a jump", seed: 3 };
  const WORLDS = {
    "a jump": (step) => (step < 60 ? 0 : 3),
    "a slow drift": (step) => 0.02 * step,
    "nothing moves": () => 1,
  };
  const powers = (from, to, per) => Array.from({ length: (to - from) * per + 1 }, (_, k) => 10 ** (from + k / per));
  const DIALS = { // of a slider: its values; of a choice: its names
    m: { label: "batch size m", values: [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256] },
    spread: { label: "std of the data", values: [0, ...powers(-5, 2, 4)] },
    eps: { label: "ε", values: [0, ...powers(-12, 1, 2)] },
    gamma: { label: "γ", values: Array.from({ length: 41 }, (_, k) => (k - 20) / 10) },
    beta: { label: "β", values: Array.from({ length: 41 }, (_, k) => (k - 20) / 10) },
    momentum: { label: "momentum", values: [0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1] },
    distribution: { label: "distribution", names: Object.keys(DISTRIBUTIONS) },
    world: { label: "what happens", names: Object.keys(WORLDS) },
    seed: { label: "", button: "Other numbers" },
  };
  const bold = (value) => `<b>${typeof value === "number" ? figure(value) : value}</b>`;
  const percent = (share) => bold(`${share > 0.1 || share === 0 ? Math.round(100 * share) : figure(100 * share)} %`);

  /** Everything that the pictures show, computed once a change. */
  function computed() {
    const x = drawn(state);
    const forward = normalised(x, state);
    const next = normal(1000 + state.seed);
    const g = x.map(() => next());
    const track = followed({ ...state, steps: STEPS, truth: WORLDS[state.world], seed: 2000 + state.seed });
    return { x, ...forward, g, ...gradient(g, forward, state), track };
  }

  const CARDS = [
    {
      id: "batch",
      title: "A batch, before and after",
      text: "Each line follows one value: from x, by subtracting the mean and dividing by s = √(var + ε), to x̂; then times γ, plus β.",
      dials: ["distribution", "m", "spread", "eps", "gamma", "beta", "seed"],
      height: 250,
      undefined: "All values are equal and ε is 0: x̂ is 0/0, which is not a number. This is what ε is for.",
      told: ({ variance, s, x_hat, mean: mu }) =>
        `mean ${bold(mu)}, var ${bold(variance)}, so 1/s = ${bold(1 / s)}. The mean of x̂² is ${bold(variance / (variance + state.eps))}; ` +
        `its largest value ${bold(Math.max(...x_hat.map(Math.abs)))} cannot exceed √(m − 1) = ${bold(Math.sqrt(state.m - 1))}.`,
      draw({ x, x_hat, y }, width) {
        const [top, middle, bottom, left] = [24, 112, 206, 34];
        const reach = Math.max(...x.map((v) => Math.abs(v - 1)), 1e-12);
        const own = linear([1 - 1.15 * reach, 1 + 1.15 * reach], [left, width - 8]);
        const span = Math.max(3.2, ...x_hat.map(Math.abs), ...y.map(Math.abs)) * 1.05;
        const common = linear([-span, span], [left, width - 8]);
        const row = (name, at) => MARKS.text(0, at + 4, name, 'style="font-weight:600"') +
          `<line x1="${left}" x2="${width - 8}" y1="${at}" y2="${at}" stroke="var(--line)"/>`;
        const faint = Math.max(0.12, Math.min(0.6, 10 / x.length));
        const step = span > 12 ? 10 : span > 6 ? 4 : span > 4 ? 2 : 1;
        const ticks = [];
        for (let v = -Math.floor(span / step) * step; v <= span; v += step) ticks.push(v);
        return (
          row("x", top) + row("x̂", middle) + row("y", bottom) +
          MARKS.text(own(1 - reach), 12, figure(1 - reach), 'text-anchor="start"') +
          MARKS.text(own(1 + reach), 12, figure(1 + reach), 'text-anchor="end"') +
          x.map((v, i) => MARKS.line([[own(v), top], [common(x_hat[i]), middle], [common(y[i]), bottom]], "grey", `stroke-width="1" style="stroke-width:1;opacity:${faint}"`)).join("") +
          x.map((v, i) => MARKS.dot([own(v), top], "blue", 4, 'fill-opacity="0.75"') + MARKS.dot([common(x_hat[i]), middle], "orange", 4, 'fill-opacity="0.75"') + MARKS.dot([common(y[i]), bottom], "green", 4, 'fill-opacity="0.75"')).join("") +
          below(common, bottom + 6, ticks, "", width)
        );
      },
    },
    {
      id: "scale",
      title: "1/s, which multiplies x and every gradient",
      text: "Without ε, a channel that hardly varies would be blown up without limit. ε caps the factor at 1/√ε, and takes over where the standard deviation falls below √ε.",
      dials: ["eps", "spread", "m", "distribution"],
      height: 330,
      told: ({ variance, s }) => {
        const share = state.eps / (variance + state.eps) || 0;
        const cap = state.eps > 0 ? `The cap 1/√ε is ${bold(1 / Math.sqrt(state.eps))}.` : "With ε = 0 there is no cap.";
        const under = s > 0 ? `; ε is ${percent(share)} of what stands under the root` : "";
        return `Here std = ${bold(Math.sqrt(variance))} and 1/s = ${bold(1 / s)}${under}. ${cap}`;
      },
      draw({ variance, s }, width) {
        const [left, right, top, bottom] = [46, width - 8, 12, 285];
        const across = logarithmic([1e-6, 1e3], [left, right]);
        const up = logarithmic([1e-3, 1e7], [bottom, top]);
        const clip = (v) => Math.min(Math.max(v, 1e-3), 1e7);
        const line = powers(-6, 3, 12).map((std) => [across(std), up(clip(1 / Math.sqrt(std * std + state.eps)))]);
        const std = Math.sqrt(variance);
        const here = [across(Math.min(Math.max(std, 1e-6), 1e3)), up(clip(1 / s))];
        const cap = 1 / Math.sqrt(state.eps);
        const capped = cap < 1e7 && cap > 1e-3;
        return (
          beside(up, left, right, [1e-2, 1, 1e2, 1e4, 1e6]) +
          MARKS.line([[across(1e-6), up(1e6)], [across(1e3), up(1e-3)]], "grey", 'stroke-dasharray="3 5"') +
          MARKS.text(across(2e-6), up(1.6e6), "1/std, without ε") +
          MARKS.line(line, "blue") +
          (capped ? MARKS.text(across(2e-6), up(cap) + 16, `1/√ε = ${figure(cap)}`, 'style="fill:var(--blue)"') : "") +
          (Number.isFinite(1 / s) ? MARKS.dot(here, "orange", 6) : "") +
          below(across, bottom, [1e-6, 1e-4, 1e-2, 1, 1e2], "std of the batch", right)
        );
      },
    },
    {
      id: "gradient",
      title: "What is left of a gradient",
      text: "The backward pass takes two directions out of the gradient g that arrives at y: its mean, and its part along x̂. Shifting or stretching x would not change y, so no gradient points there.",
      dials: ["m", "eps", "spread", "seed"],
      height: 250,
      undefined: "x̂ is 0/0, and so is every gradient.",
      told: ({ shares, expected }) =>
        `Of |g|², <b class="violet">the mean</b> takes ${percent(shares.mean)} and <b class="orange">x̂</b> takes ${percent(shares.x_hat)}; ${percent(shares.left)} is <b class="green">left</b>. ` +
        `On average over random g it is ${percent(expected)}${state.m === 2 && expected < 1e-3 ? ": with two values, nothing can be learned" : ""}.`,
      draw({ g, left: kept, shares }, width) {
        const [left, right] = [0, width];
        let from = left;
        const parts = [["mean", "violet", "mean"], ["x_hat", "orange", "along x̂"], ["left", "green", "left"]];
        const stack = parts.map(([name, colour, words]) => {
          const wide = shares[name] * (right - left);
          const drawnPart = MARKS.bar(from, 8, wide, 30, colour) +
            (wide > 62 ? MARKS.text(from + wide / 2, 28, words, 'text-anchor="middle" style="fill:var(--card);font-weight:600"') : "");
          from += wide;
          return drawnPart;
        });
        const shownOf = Math.min(g.length, 32);
        const up = linear([-3.2, 3.2], [228, 62]);
        const slot = (right - left) / shownOf;
        const wide = Math.min(14, slot * 0.36);
        const bars = g.slice(0, shownOf).map((v, i) => {
          const centre = left + slot * (i + 0.5);
          const one = (value, shift, colour) => MARKS.bar(centre + shift, Math.min(up(0), up(value)), wide, Math.abs(up(value) - up(0)), colour);
          return one(v, -wide - 0.5, "grey") + one(kept[i], 0.5, "green");
        });
        return stack.join("") + bars.join("") + `<line x1="${left}" x2="${right}" y1="${up(0)}" y2="${up(0)}" stroke="var(--soft)"/>` +
          MARKS.text(0, 56, "g", 'style="fill:var(--soft);font-weight:600"') + MARKS.text(16, 56, "and what is left of it, times s/γ", 'style="fill:var(--green);font-weight:600"') +
          MARKS.text(right, 246, g.length > shownOf ? `the first ${shownOf} of ${g.length} values` : "value by value", 'text-anchor="end"');
      },
    },
    {
      id: "lag",
      title: "How far the running average lags",
      text: "Inference uses an average of what the batches said: after each, running ← (1 − momentum) running + momentum · batch. A small momentum is steady and slow, a large one quick and noisy.",
      dials: ["momentum", "m", "world", "seed"],
      height: 250,
      told: ({ track }) => {
        const { momentum, m } = state;
        const half = momentum < 1 ? Math.log(2) / -Math.log1p(-momentum) : 0;
        const end = track[track.length - 1];
        return `It forgets half of what it knew in ${bold(half)} batches, trails a steady drift by (1 − momentum)/momentum = ${bold((1 - momentum) / momentum)} batches, ` +
          `and lets through ${percent(Math.sqrt(momentum / (2 - momentum)))} of the noise of a batch, which is 1/√m = ${bold(1 / Math.sqrt(m))}. At the end it is off by ${bold(end.running - end.truth)}.`;
      },
      draw({ track }, width) {
        const [left, right, top, bottom] = [34, width - 8, 10, 205];
        const values = track.flatMap(({ truth, batch }) => [truth, batch]);
        const [low, high] = [Math.min(0, ...values), Math.max(1, ...values)];
        const across = linear([0, STEPS], [left, right]);
        const up = linear([low - 0.05 * (high - low), high + 0.05 * (high - low)], [bottom, top]);
        const ticks = [-2, -1, 0, 1, 2, 3, 4, 5, 6].filter((v) => v >= low && v <= high);
        const path = (name) => track.map((point) => [across(point.step), up(point[name])]);
        const label = track[Math.floor(STEPS * 0.86)];
        return (
          beside(up, left, right, ticks) +
          track.map(({ step, batch }) => MARKS.dot([across(step), up(batch)], "grey", 2, 'fill-opacity="0.6"')).join("") +
          MARKS.line(path("truth"), "blue", 'stroke-dasharray="6 4"') +
          MARKS.line(path("running"), "orange", 'style="stroke-width:2.5"') +
          MARKS.text(right, up(label.truth) - 10, "true mean", 'text-anchor="end" style="fill:var(--blue);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px"') +
          MARKS.text(right, Math.min(up(label.running) + 22, bottom - 4), "running average", 'text-anchor="end" style="fill:var(--orange);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px"') +
          below(across, bottom, [0, 50, 100, 150, 200], "batches; each dot is the mean of one", right)
        );
      },
    },
  ];

  const box = document.getElementById("cards");
  box.innerHTML = CARDS.map(({ id, title, text, dials, height }) =>
    `<section class="card" aria-labelledby="h-${id}"><h2 id="h-${id}">${title}</h2><p>${text}</p>
     <svg id="s-${id}" height="${height}" role="img" aria-labelledby="h-${id}" aria-describedby="t-${id}"></svg>
     <p class="told" id="t-${id}"></p><div class="dials">${dials.map((name) => dialOf(id, name)).join("")}</div></section>`).join("");

  function dialOf(card, name) {
    const { label, values, names, button } = DIALS[name];
    const id = `${card}-${name}`;
    if (button) return `<div class="dial"><span></span><button class="quiet" id="${id}" data-name="${name}">${button}</button></div>`;
    if (names)
      return `<div class="dial"><label for="${id}">${label}</label><select id="${id}" data-name="${name}">${names.map((n) => `<option>${n}</option>`).join("")}</select></div>`;
    return `<div class="dial"><label for="${id}">${label}</label><input type="range" id="${id}" data-name="${name}" min="0" max="${values.length - 1}" step="1"><output for="${id}"></output></div>`;
  }

  /** Draw all pictures, and set every slider to what it stands for. */
  function draw() {
    for (const dial of box.querySelectorAll("[data-name]")) {
      const { values, names } = DIALS[dial.dataset.name];
      const value = state[dial.dataset.name];
      if (names) dial.value = value;
      if (values) {
        dial.value = values.indexOf(value);
        dial.setAttribute("aria-valuetext", figure(value));
        dial.nextElementSibling.textContent = figure(value);
      }
    }
    const now = computed();
    for (const { id, draw: picture, told, height, undefined: none } of CARDS) {
      const svg = document.getElementById(`s-${id}`);
      const width = svg.clientWidth;
      if (!width) return;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const shown = now.s > 0 || !none;
      svg.innerHTML = shown ? picture(now, width) : MARKS.text(width / 2, height / 2, "0/0", 'text-anchor="middle"');
      document.getElementById(`t-${id}`).innerHTML = shown ? told(now) : none;
    }
  }

  box.addEventListener("input", ({ target }) => {
    const { values } = DIALS[target.dataset.name];
    state[target.dataset.name] = values ? values[target.value] : target.value;
    draw();
  });
  box.addEventListener("click", ({ target }) => {
    if (target.dataset.name !== "seed") return;
    state.seed += 1;
    draw();
  });
  addEventListener("shown", ({ detail }) => detail === "play" && draw());
  addEventListener("resize", draw);
}
