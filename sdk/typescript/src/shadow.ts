/**
 * Shadow runs: the candidate answers beside stable, nobody sees it, and scores of one request are compared in pairs.
 *
 * Bounded by the payload's budget for this process: whatever exceeds it is dropped, never queued.
 */

import type { Assignment } from "./assignment.js";
import { reasonOf } from "./errors.js";
import type { Metrics } from "./metrics.js";
import type { ShadowRules } from "./payload.js";

const HOUR_MS = 3_600_000;

/** What an application runs in the shadow; `shadow: true` tells it that tools must have no effect. */
export type Run = (candidate: Assignment, options: { readonly shadow: true }) => unknown;

/** Scores of one request by stable and by the candidate, in any order; counted when both are there. */
export class Pair {
  readonly #half = new Map<string, { value: number; candidate: boolean }>();

  constructor(
    private readonly metrics: Metrics,
    private readonly rollout: string,
    private readonly revision: string,
  ) {}

  /** One side's score. */
  score(name: string, value: number, candidate: boolean): void {
    const other = this.#half.get(name);
    if (!other || other.candidate === candidate) {
      this.#half.set(name, { value, candidate });
      return;
    }
    this.#half.delete(name);
    const difference = candidate ? value - other.value : other.value - value;
    const labels = [this.rollout, this.revision, name];
    this.metrics.difference.labels(...labels).observe(difference);
    this.metrics.differenceSumsq.labels(...labels).inc(difference * difference);
    // A sum of signed numbers is no counter: it falls, and a reader of counters would call that a restart.
    (difference > 0 ? this.metrics.gain : this.metrics.loss).labels(...labels).inc(Math.abs(difference));
  }
}

/** Make the series of a shadowed revision at zero, so that nothing is missing before the first pair. */
export function announce(metrics: Metrics, rollout: string, revision: string, scores: Iterable<string>): void {
  for (const score of scores) {
    for (const family of [metrics.difference, metrics.differenceSumsq, metrics.gain, metrics.loss]) {
      family.labels(rollout, revision, score);
    }
  }
}

/** The shadow runs of one rollout in this process. */
export class Shadows {
  #running = 0;
  #spent: { at: number; usd: number }[] = [];

  constructor(
    private readonly metrics: Metrics,
    private readonly problem: (reason: string, message: string) => void,
  ) {}

  /** Run `fn` beside the caller; false when it was not sampled, or dropped for want of budget. */
  start(rules: ShadowRules, rollout: string, fn: Run, candidate: Assignment): boolean {
    if (Math.floor(Math.random() * 10_000) >= rules.sample) return false;
    const dropped = this.#admit(rules);
    if (dropped) {
      this.#count(rollout, dropped);
      return false;
    }
    setImmediate(() => void this.#run(rollout, fn, candidate)); // after the answer that is being given
    return true;
  }

  /** A shadow run cost so much. */
  spend(usd: number): void {
    if (usd > 0) this.#spent.push({ at: performance.now(), usd });
  }

  #admit(rules: ShadowRules): "" | "over_budget" | "busy" {
    const since = performance.now() - HOUR_MS;
    this.#spent = this.#spent.filter(({ at }) => at > since);
    if (this.#spent.reduce((sum, { usd }) => sum + usd, 0) >= rules.usdPerHour) return "over_budget";
    if (this.#running >= rules.maxConcurrent) return "busy";
    this.#running += 1;
    return "";
  }

  async #run(rollout: string, fn: Run, candidate: Assignment): Promise<void> {
    try {
      await fn(candidate, { shadow: true });
      this.#count(rollout, "done");
    } catch (error) {
      this.#count(rollout, "failed");
      this.problem("shadow", `a shadow run failed: ${reasonOf(error)}`);
    } finally {
      this.#running -= 1;
    }
  }

  #count(rollout: string, result: string): void {
    this.metrics.shadows.labels(rollout, result).inc();
  }
}
