// A little drawing: scales, axes and marks as SVG, at the size that they have on the screen.
"use strict";

const linear = ([a, b], [from, to]) => (v) => from + ((v - a) / (b - a)) * (to - from);
const logarithmic = ([a, b], range) => {
  const scale = linear([Math.log(a), Math.log(b)], range);
  return (v) => scale(Math.log(v));
};
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const power = (k) => `10${k < 0 ? "⁻" : ""}${[...String(Math.abs(k))].map((d) => SUPERSCRIPTS[d]).join("")}`;

/** Write a number for people: three digits, powers of ten where it is very large or small. */
function figure(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const [digits, exponent] = value.toExponential(1).split("e");
    const one = digits.replace(/\.0$/, "");
    return `${one === "1" ? "" : `${one}·`}${power(Number(exponent))}`.replace("-", "−");
  }
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

const MARKS = {
  line: (points, colour, more = "") =>
    `<polyline points="${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ")}" fill="none" stroke="var(--${colour})" stroke-width="2" stroke-linejoin="round" ${more}/>`,
  dot: ([x, y], colour, r = 4, more = "") =>
    `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${r}" fill="var(--${colour})" ${more}/>`,
  bar: (x, y, width, height, colour, more = "") =>
    `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${Math.max(0, width).toFixed(1)}" height="${Math.max(0, height).toFixed(1)}" fill="var(--${colour})" ${more}/>`,
  text: (x, y, words, more = "") => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${words}</text>`,
};

/** Return lines and labels of a horizontal axis at the bottom, with ticks where they are asked for. */
function below(scale, y, ticks, label, width) {
  return ticks.map((v) => `<line x1="${scale(v)}" x2="${scale(v)}" y1="${y}" y2="${y + 4}" stroke="var(--grey)"/>` +
    MARKS.text(scale(v), y + 17, figure(v), 'text-anchor="middle"')).join("") +
    MARKS.text(width, y + 32, label, 'text-anchor="end"');
}

/** Return grid lines with labels at the left. */
function beside(scale, from, to, ticks) {
  return ticks.map((v) => `<line x1="${from}" x2="${to}" y1="${scale(v)}" y2="${scale(v)}" stroke="var(--line)"/>` +
    MARKS.text(from - 6, scale(v) + 4, figure(v), 'text-anchor="end"')).join("");
}
