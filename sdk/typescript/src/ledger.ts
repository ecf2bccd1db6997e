/** Which series a rollout has: made when an arm is loaded, dropped once they can no longer matter. */

import { ArmSeries, ClusterSeries, ERRORS, type Key, nameOf, ScoreSeries } from "./counting.js";
import type { Metrics } from "./metrics.js";

// A key that is no longer served stays while it is counted in, and then for an hour, so that its last values are
// scraped many times. Forged or very old pins and tokens cannot fill the registry: what they make is bounded.
const IDLE_MS = 3_600_000;
const KEPT = 16;
const KEPT_AT_ALL = 48;
const KEPT_ARMS = 4;
const MAX_SCORES = 32;
const MAX_LATE = 64;
const MAX_ARMS = 16;

/** The series of one rollout. */
export class Ledger {
  readonly events: readonly string[];
  readonly #scores: Set<string>;
  readonly #arms = new Map<string, ArmSeries>();
  readonly #clusters = new Map<string, ClusterSeries>();
  readonly #late = new Map<string, ScoreSeries>();
  readonly #seen = new Map<string, number>();
  #live = new Set<string>();

  constructor(
    readonly metrics: Metrics,
    events: readonly string[] = [],
    scores: readonly string[] = [],
  ) {
    this.events = [...new Set([ERRORS, ...events])];
    this.#scores = new Set(scores);
  }

  /** The scores known by now. */
  get scores(): Iterable<string> {
    return this.#scores;
  }

  /** The series of `key`, made if need be. */
  arm(key: Key): ArmSeries {
    const name = nameOf(key);
    let series = this.#arms.get(name);
    if (!series) {
      series = new ArmSeries(this.metrics, key, this.events, this.#scores);
      this.#arms.set(name, series);
      this.#trim();
    }
    return series;
  }

  /** The series of a score; for an arm that is not served any more it is all that is made. */
  score(key: Key, score: string): ScoreSeries {
    const arm = this.#arms.get(nameOf(key));
    if (arm) {
      arm.idle = false;
      return arm.score(score);
    }
    const name = `${nameOf(key)}\xff${score}`;
    const series = this.#late.get(name) ?? new ScoreSeries(this.metrics, key, score);
    this.#late.delete(name);
    this.#late.set(name, series); // the latest used last
    for (const [oldest, gone] of this.#late) {
      if (this.#late.size <= MAX_LATE) break;
      this.#late.delete(oldest);
      gone.drop();
    }
    return series;
  }

  /** The cluster series of an arm, made if need be; undefined beyond any number of arms that one rollout has. */
  clusters(rollout: string, arm: string): ClusterSeries | undefined {
    const name = `${rollout}\xff${arm}`;
    const found = this.#clusters.get(name);
    if (found || this.#clusters.size >= MAX_ARMS) return found;
    const series = new ClusterSeries(this.metrics, rollout, arm, this.events, this.#scores);
    this.#clusters.set(name, series);
    return series;
  }

  /** Whether `name` may be a label value: known, or one of the first few. */
  admitsScore(name: string): boolean {
    if (this.#scores.size < MAX_SCORES) this.#scores.add(name);
    return this.#scores.has(name);
  }

  /** What is served from now on; series of other arms may go. */
  serve(keys: readonly Key[]): void {
    this.#live = new Set(keys.map(nameOf));
    const arms = new Set(keys.map((key) => `${key.rollout}\xff${key.arm}`));
    // An arm's clusters outlive its candidate: their history is what tells how much units differ.
    const gone = [...this.#clusters.keys()].filter((name) => !arms.has(name));
    for (const name of gone.slice(0, Math.max(0, gone.length - KEPT_ARMS))) {
      this.#clusters.get(name)?.drop();
      this.#clusters.delete(name);
    }
    this.#trim();
  }

  /** Drop what is neither served nor was counted in for an hour; `now` in milliseconds of any clock that only grows. */
  sweep(now: number): void {
    for (const [name, series] of this.#arms) {
      const since = this.#seen.get(name);
      if (this.#live.has(name) || !series.idle || since === undefined) this.#seen.set(name, now);
      else if (now - since > IDLE_MS) this.#drop(name);
      series.idle = true;
    }
  }

  #trim(): void {
    const gone = [...this.#arms].filter(([name]) => !this.#live.has(name));
    const idle = gone.filter(([, series]) => series.idle);
    const excess = new Set(idle.slice(0, Math.max(0, idle.length - KEPT)).map(([name]) => name));
    const busy = gone.filter(([name]) => !excess.has(name)).map(([name]) => name);
    for (const name of [...excess, ...busy.slice(0, Math.max(0, busy.length - KEPT_AT_ALL))]) this.#drop(name);
  }

  #drop(name: string): void {
    this.#seen.delete(name);
    this.#arms.get(name)?.drop();
    this.#arms.delete(name);
  }
}
