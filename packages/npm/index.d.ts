/** Format of numbers; all are read as doubles. */
export type Dtype = "float64" | "float32" | "float16" | "bfloat16";
export type Operation =
  | "training" | "backward" | "running" | "inference" | "frozen"
  | "jvp" | "double_backward" | "frozen_jvp" | "frozen_double_backward"
  | "masked_training" | "masked_backward" | "sharded_training" | "sharded_backward";

/** "NaN" and the infinities are strings, as JSON has no other way. */
export type Stored = number | "NaN" | "Infinity" | "-Infinity";

export type Rule =
  | { name: "hash"; seed: number; scale: number[]; offset: number[]; add: { at: number[]; value: number[] } }
  | { name: "mirrored"; seed: number; centre: number[] }
  | { name: "quarters"; seed: number };

/** An input: stored, or built by a rule. */
export type Tensor = { shape: number[] } & ({ data: Stored[]; rule?: undefined } | { rule: Rule; data?: undefined });

/** A result, correctly rounded. `at`: which elements are given, if not all; `rest`: exact value less data (float64). */
export interface Result { shape: number[]; at?: number[]; data: number[]; rest?: number[] }

export interface Case {
  id: string;
  operation: Operation;
  dtype: Dtype;
  flags: string[];
  shape: number[];
  parameters: Dtype;
  eps?: number;
  momentum?: number;
  x?: Tensor;
  dy?: Tensor;
  gamma?: Tensor | null;
  beta?: Tensor | null;
  /** 1 where a value counts, 0 where it is padding. */
  where?: { shape: number[]; data: (0 | 1)[]; rule?: undefined };
  /** How many samples each worker has, one after the other. */
  shards?: number[];
  running_mean?: Tensor;
  running_var?: Tensor;
  batches?: Tensor[];
  dx?: Tensor;
  dgamma?: Tensor | null;
  dbeta?: Tensor | null;
  ddx?: Tensor;
  ddgamma?: Tensor | null;
  ddbeta?: Tensor | null;
  expected: Record<string, Result>;
}

/** What is undefined: what each convention accepts, or which channels stay finite. `operation` is what is called. */
export interface Undefined {
  id: string;
  operation: "training" | "inference";
  dtype: "float64";
  flags: string[];
  shape: number[];
  eps: number;
  momentum: number;
  x: Tensor;
  dy: Tensor;
  gamma: Tensor;
  beta: Tensor;
  running_mean: Tensor;
  running_var: Tensor;
  accepted?: Record<string, string[]>;
  non_finite_channels?: number[];
  finite_channels?: number[];
}

export interface Manifest {
  schema: 1;
  set: string;
  total_cases: number;
  files: Record<string, { cases: number; bytes: number; sha256: string }>;
}

export const manifest: Manifest;
export function cases(operation: "errors", dtype?: Dtype): Undefined[];
export function cases(operation: Operation, dtype?: Dtype): Case[];
export function cases(operation?: undefined, dtype?: Dtype): (Case | Undefined)[];
export function values(tensor: Tensor | Result, dtype?: Dtype): Float64Array;
