/** The formulas that every SDK shares; `sdk/conformance/assignment.json` and `scores.json` hold their vectors. */

import { createHash, hash } from "node:crypto";

export const WHOLE = 10_000;
export const CLUSTERS = 16;
export const NODES = 21;

const WORD = 2 ** 32;

/** The unit's bucket, 0 … 9999: the top 64 bits of a hash, scaled. A lone surrogate is U+FFFD, as UTF-8 has it. */
export function bucketOf(salt: string, unit: string): number {
  const hex = hash("sha256", `${salt}\x1f${unit}`);
  const high = parseInt(hex.slice(0, 8), 16);
  const low = parseInt(hex.slice(8, 16), 16);
  // (high·2³² + low)·10000 ≫ 64 in doubles: both products are below 2⁵³, so nothing is rounded.
  return Math.floor((high * WHOLE + Math.floor((low * WHOLE) / WORD)) / WORD);
}

/** The unit's cluster, 0 … 15; without salt, so that history outlives a candidate. */
export function clusterOf(unit: string): number {
  return parseInt(hash("sha256", `cluster\x1f${unit}`).slice(0, 2), 16) % CLUSTERS;
}

/**
 * A score in [0, 1] as [i, weight of node i, weight of node i + 1] of its badness 1 - score on 21 nodes.
 * The linear split keeps the mean exactly. The second weight is 0 at the last node.
 */
export function splitScore(score: number): [node: number, here: number, beyond: number] {
  const position = (1 - score) * (NODES - 1);
  const node = Math.min(Math.trunc(position), NODES - 1);
  const fraction = position - node;
  return [node, 1 - fraction, fraction];
}

/** The sha256 of bytes or of a text's UTF-8, in hex. */
export function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

/** A JSON value in the canonical form of RFC 8785. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = value as Record<string, unknown>;
  const members = Object.keys(fields).sort(); // by UTF-16 code units, as RFC 8785 wants it
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(fields[key])}`).join(",")}}`;
}
