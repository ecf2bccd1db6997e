/** Counting a score: checked, bounded, into its arm's series and its cluster's. */

import type { Key } from "./counting.js";
import { said } from "./errors.js";
import type { Ledger } from "./ledger.js";

const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/;

/** Count a score; what is wrong with it, or nothing. */
export function countScore(ledger: Ledger, key: Key, cluster: number, name: string, value: number): string {
  if (typeof value !== "number" || !(value >= 0 && value <= 1)) {
    return `score '${said(name)}' must be a number from 0 to 1, was ${said(value)}`;
  }
  if (typeof name !== "string" || !NAME.test(name) || !ledger.admitsScore(name)) {
    return `'${said(name)}' is no name of a score, or there are too many of them`;
  }
  ledger.score(key, name).add(value);
  ledger.clusters(key.rollout, key.arm)?.score(name, cluster, value);
  return "";
}
